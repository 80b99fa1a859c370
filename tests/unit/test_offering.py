"""What workers are told of leases, and when."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from adapters.in_memory.event_log import MemorySeat
from adapters.in_memory.traces import NoTraces
from consumers.conductor import Conductor
from consumers.offering import Offers, offers
from domain import events as e
from domain import offering
from domain.errors import Nacked, TallyportError, Unavailable
from domain.filling import Work
from domain.ids import derived_id
from domain.offering import Leased
from domain.ports.broker import Outgoing
from domain.retry_spec import Fallback
from domain.specs import Container, TaskSpec
from domain.task import Cancel
from domain.work import OfferedRun, RunOffer
from tests.support.commands import Ids
from tests.support.conducting import MemoryWorld, conductor, settle, spec, stream
from tests.support.ended_tasks import TASK, TASK_2
from tests.support.faults import Fuse, FusedSeat, Killed
from tests.support.messenger_place import CAUSE, RUN, RUN_2, TRACE, leased

NOOP = TaskSpec(executor="noop", name="nightly")


def lease(event: e.RunLeased, spec: TaskSpec = NOOP, work: Work | None = None) -> Leased:
    submitted = e.TaskSubmitted(task_id="T1", spec=spec)
    task = TASK if event.run_id == RUN else TASK_2
    return Leased(task, "analytics", event, submitted, work or submitted.work, CAUSE)


def messages(*leases: Leased) -> list[Outgoing]:
    with ExitStack() as spans:
        return offers(leases, NoTraces(), Ids(), spans)


def runs(*leases: Leased) -> list[OfferedRun]:
    return [run for one in messages(*leases) for run in RunOffer.model_validate_json(one.body).runs]


def test_a_run_is_offered_to_its_worker_with_all_it_needs() -> None:
    container = Container(image="tallyport/busybox:dev", command=("echo", "hello"))

    (offer,) = messages(lease(leased(RUN), TaskSpec(container=container)))

    assert (offer.exchange, offer.routing_key) == ("task.work", "w1")
    assert RunOffer.model_validate_json(offer.body).model_dump(mode="json", exclude_none=True) == {
        "generation": 3,
        "runs": [
            {
                "task_id": str(TASK),
                "run_id": str(RUN),
                "run": 1,
                "fence": 1,
                "beat": 812,
                "within": "PT11.4S",
                "spec": {
                    "namespace": "analytics",
                    "name": "T1",
                    "executor": "docker",
                    "container": container.model_dump(mode="json", exclude_none=True),
                    "timeouts": {"pull": "PT5M", "run": "PT1H", "stop": "PT10S"},
                },
                "traceparent": TRACE,
                "tracestate": "vendor=1",
            }
        ],
    }


def test_a_run_of_a_workflow_s_task_is_offered_with_its_workflow() -> None:
    submitted = e.TaskSubmitted(task_id="T1", spec=NOOP, workflow_id="etl", workflow=TASK_2)

    (run,) = runs(replace(lease(leased(RUN)), submitted=submitted))

    assert (run.spec.workflow_id, run.spec.workflow) == ("etl", TASK_2)


def test_the_run_that_stands_in_for_those_that_failed_is_offered_with_its_own_image_and_command() -> None:
    container = Container(image="busybox", command=("false",), env={"DAY": "1"})
    last = leased(RUN).model_copy(update={"fallback": True})

    image, command, first = runs(
        lease(last, work=Work(container=container, fallback=Fallback(image="debian"))),
        lease(last, work=Work(container=container, fallback=Fallback(command=("true",)))),
        lease(leased(RUN), work=Work(container=container, fallback=Fallback(image="debian"))),
    )

    assert image.spec.container == container.model_copy(update={"image": "debian"})
    assert command.spec.container == container.model_copy(update={"command": ("true",)})
    assert first.spec.container == container


def test_runs_that_are_large_together_go_in_several_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offering, "OFFER_CHARACTERS", 100)
    container = Container(image="busybox", command=("x" * 30,), env={"A": "y" * 30})
    large = [lease(leased(derived_id(RUN, str(n))), TaskSpec(container=container)) for n in range(3)]
    long = lease(leased(RUN_2), TaskSpec(executor="noop", input={"z": "z" * 50}))

    sent = messages(*large, long)

    assert [len(RunOffer.model_validate_json(one.body).runs) for one in sent] == [1, 1, 1, 1]


def test_runs_for_one_worker_go_in_one_message_and_each_generation_gets_its_own() -> None:
    sent = messages(lease(leased(RUN)), lease(leased(RUN_2)), lease(leased(RUN, generation=4)))

    told = [RunOffer.model_validate_json(one.body) for one in sent]
    assert [(one.generation, [run.run_id for run in one.runs]) for one in told] == [(3, [RUN, RUN_2]), (4, [RUN])]


def test_offers_are_not_kept_longer_than_a_worker_may_start_them() -> None:
    (message,) = messages(lease(leased(RUN)))

    assert (message.persistent, message.mandatory, message.expires_after) == (False, False, timedelta(seconds=12))


class Broker:
    """A publisher whose first answers are these errors."""

    def __init__(self, *errors: TallyportError) -> None:
        self.errors, self.sent = list(errors), list[Outgoing]()
        self.came = asyncio.Event()

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self.came.set()
        if self.errors:
            raise self.errors.pop()
        self.sent += messages


@asynccontextmanager
async def running(offers: Offers) -> AsyncGenerator[None]:
    sending = asyncio.create_task(offers.run())
    try:
        yield
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending


@pytest.mark.parametrize("error", [Unavailable("broker: down"), Nacked([RUN])])
async def test_an_offer_that_cannot_be_sent_holds_up_none_that_come_later(error: TallyportError) -> None:
    broker = Broker(error)
    given = Offers(broker, NoTraces(), Ids())

    async with running(given):
        for one in (RUN, RUN_2):
            given.tell([lease(leased(one))])
            await asyncio.wait_for(broker.came.wait(), 20)
            broker.came.clear()

    (offer,) = broker.sent
    assert [run.run_id for run in RunOffer.model_validate_json(offer.body).runs] == [RUN_2]


@asynccontextmanager
async def sent_by(world: MemoryWorld, fuse: Fuse | None = None) -> AsyncGenerator[tuple[Conductor, list[OfferedRun]]]:
    """A conductor of this world, and what it has offered; that is complete at the end of the block."""
    broker, seat = Broker(), MemorySeat(world.log, "conductor", world.turn)
    conducting, told = conductor(FusedSeat(seat, fuse or Fuse()), broker), list[OfferedRun]()
    async with running(conducting.offers):
        with suppress(Killed):
            yield conducting, told
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    told += [run for one in broker.sent for run in RunOffer.model_validate_json(one.body).runs]


async def leases(world: MemoryWorld, *names: str) -> list[tuple[UUID, int]]:
    events = [event for name in names for event in await world.events(name)]
    return [(event.run_id, event.fence) for event in events if isinstance(event, e.RunLeased)]


async def test_what_a_round_has_leased_is_offered() -> None:
    world = MemoryWorld()
    await world.register("w1")
    await world.submit(spec("a"))

    async with sent_by(world) as (conducting, told):
        await settle(conducting)

    assert [(run.task_id, run.spec.name, run.spec.executor, run.fence) for run in told] == [
        (stream("a"), "a", "noop", 1)
    ]


@pytest.mark.parametrize("slots", [2, 1])
async def test_a_run_whose_templates_were_filled_is_offered_as_they_were(slots: int) -> None:
    """With two slots in the round that filled them, with one in a later round."""
    world = MemoryWorld()
    await world.register("w1", slots=slots)
    await world.submit(spec("a"), spec("b", "a", input={"rows": "{{tasks.a.result.rows}}"}))
    async with sent_by(world) as (conducting, told):
        await settle(conducting)
        await world.submit(spec("c", priority=10))
        await world.finish("a", result={"rows": 7})
        await settle(conducting)
        if slots == 1:
            await world.finish("c")
            await settle(conducting)

    assert [run.spec.input for run in told if run.task_id == stream("b")] == [{"rows": 7}]


@pytest.mark.parametrize("statements", range(0, 40, 3))
async def test_a_conductor_that_is_killed_has_offered_nothing_that_is_not_committed(statements: int) -> None:
    world = MemoryWorld()
    await world.register("w1")
    await world.submit(spec("a"), spec("b"))

    async with sent_by(world, Fuse(statements)) as (conducting, told):
        await settle(conducting)

    assert {(run.run_id, run.fence) for run in told} <= set(await leases(world, "a", "b"))


async def test_a_round_that_begins_again_offers_what_it_leases_in_the_end_and_once() -> None:
    world = MemoryWorld()
    await world.register("w1")
    await world.submit(spec("a"), spec("b"))

    async def cancel() -> None:
        await world.decide("a", Cancel("alice"))

    async with sent_by(world, Fuse(intrude=cancel)) as (conducting, told):
        await settle(conducting)

    assert [(run.run_id, run.fence) for run in told] == await leases(world, "a", "b")
    assert [run.task_id for run in told] == [stream("b")]
