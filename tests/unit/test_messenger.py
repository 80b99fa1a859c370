"""What workers are sent, for which events."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from adapters.in_memory.messaging import MessengerMemoryTurn
from adapters.in_memory.traces import NoTraces
from consumers import messenger
from consumers.messenger import TYPES, Messenger
from domain import events as e
from domain.errors import Unavailable
from domain.filling import Work
from domain.ids import derived_id
from domain.ports.broker import Outgoing
from domain.ports.log import Page
from domain.recorded import new_events
from domain.reports import HeldRun
from domain.retry_spec import Fallback, Retry
from domain.specs import Container, TaskSpec
from domain.syncing import LastBeat, Standing
from domain.work import RunOffer, RunStop, WorkerSync
from tests.support.commands import Ids
from tests.support.ended_tasks import TASK, TASK_2
from tests.support.messenger_place import CANCELLING, CAUSE, RUN, RUN_2, TRACE, leased, place


async def test_a_leased_run_is_offered_to_its_worker_with_all_it_needs() -> None:
    here = await place()
    container = Container(image="tallyport/busybox:dev", command=("echo", "hello"))
    here.task(TASK, leased(RUN), spec=TaskSpec(container=container))

    await here.step()

    (offer,) = here.told("w1")
    assert isinstance(offer, RunOffer)
    assert offer.model_dump(mode="json", exclude_none=True) == {
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
    assert here.told("w2") == []
    assert here.seat.position == 2


async def test_a_run_of_a_workflow_s_task_is_offered_with_its_workflow() -> None:
    here, workflow = await place(), derived_id(TASK, "workflow")
    submitted = e.TaskSubmitted(task_id="T1", spec=TaskSpec(executor="noop"), workflow_id="etl", workflow=workflow)
    here.log.append(new_events(TASK, 0, "analytics", [submitted, leased(RUN)], CAUSE))
    here.desk.leases[RUN] = (1, TASK)

    await here.step()

    (offer,) = here.told("w1")
    assert isinstance(offer, RunOffer)
    assert [(run.spec.workflow_id, run.spec.workflow) for run in offer.runs] == [("etl", workflow)]


async def test_the_run_that_stands_in_for_those_that_failed_is_offered_with_its_own_image_and_command() -> None:
    here = await place()
    container = Container(image="busybox", command=("false",), env={"DAY": "1"})
    for task, fallback, lease in (
        (TASK, Fallback(image="debian"), leased(RUN)),
        (TASK_2, Fallback(command=("true",)), leased(RUN_2)),
    ):
        spec = TaskSpec(container=container, retry=Retry(fallback=fallback))
        here.task(task, lease.model_copy(update={"fallback": True}), spec=spec)

    await here.step()

    (offer,) = here.told("w1")
    assert isinstance(offer, RunOffer)
    assert [run.spec.container for run in offer.runs] == [
        container.model_copy(update={"image": "debian"}),
        container.model_copy(update={"command": ("true",)}),
    ]


FILLED = e.TaskFilled(
    task_id="T1",
    container=Container(image="busybox", command=("load", "7")),
    input={"rows": 7, "none": None},
    fallback=Fallback(command=("slowly", "7")),
)


async def test_a_run_whose_templates_were_filled_is_offered_as_they_were_also_the_one_that_stands_in() -> None:
    here = await place()
    container = Container(image="busybox", command=("load", "{{tasks.T0.result.rows}}"))
    fallback = Fallback(command=("slowly", "{{input.rows}}"))
    spec = TaskSpec(container=container, input={"rows": "{{tasks.T0.result.rows}}"}, retry=Retry(fallback=fallback))
    here.task(TASK, FILLED, leased(RUN).model_copy(update={"filled": 2}), spec=spec)
    again = leased(RUN_2).model_copy(update={"filled": 2, "fallback": True})
    here.task(TASK_2, FILLED, again, spec=spec)

    await here.step()

    (offer,) = here.told("w1")
    assert isinstance(offer, RunOffer)
    assert [run.spec.container and run.spec.container.command for run in offer.runs] == [("load", "7"), ("slowly", "7")]
    assert [run.spec.input for run in offer.runs] == [{"rows": 7, "none": None}] * 2


async def test_what_was_filled_at_submission_and_a_plain_input_are_offered_without_a_further_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = await place()
    filled = Work(container=Container(image="busybox", command=("load", "Monday")), input={"day": "Monday"})
    submitted = e.TaskSubmitted(task_id="T1", spec=TaskSpec(executor="noop"), filled=filled)
    here.log.append(new_events(TASK, 0, "analytics", [submitted, leased(RUN)], CAUSE))
    here.desk.leases[RUN] = (1, TASK)
    here.task(TASK_2, leased(RUN_2), spec=TaskSpec(executor="noop", input={"day": "{"}))
    monkeypatch.delattr(MessengerMemoryTurn, "filled")

    await here.step()

    (offer,) = here.told("w1")
    assert isinstance(offer, RunOffer)
    assert [(run.spec.container, run.spec.input) for run in offer.runs] == [
        (filled.container, {"day": "Monday"}),
        (None, {"day": "{"}),
    ]


async def test_runs_that_are_large_together_go_in_several_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messenger, "OFFER_CHARACTERS", 100)
    here = await place()
    container = Container(image="busybox", command=("x" * 30,), env={"A": "y" * 30})
    for n in range(3):
        here.task(derived_id(TASK, str(n)), leased(derived_id(RUN, str(n))), spec=TaskSpec(container=container))
    here.task(TASK_2, leased(RUN_2), spec=TaskSpec(executor="noop", input={"z": "z" * 50}))

    await here.step()

    offers = here.told("w1")
    assert [len(offer.runs) for offer in offers if isinstance(offer, RunOffer)] == [1, 1, 1, 1]
    assert len(offers) == 4


async def test_runs_for_one_worker_go_in_one_message() -> None:
    here = await place()
    here.task(TASK, leased(RUN))
    here.task(TASK_2, leased(RUN_2))

    await here.step()

    (offer,) = here.told("w1")
    assert isinstance(offer, RunOffer)
    assert [run.run_id for run in offer.runs] == [RUN, RUN_2]


async def test_a_lease_that_is_not_open_any_more_is_not_offered() -> None:
    here = await place()
    here.task(TASK, leased(RUN), leased(RUN, fence=2, worker="w2"))
    here.task(TASK_2, leased(RUN_2))
    del here.desk.leases[RUN_2]

    await here.step()

    assert here.told("w1") == []
    (offer,) = here.told("w2")
    assert isinstance(offer, RunOffer)
    assert [(run.run_id, run.fence) for run in offer.runs] == [(RUN, 2)]


async def test_a_cancelled_run_and_one_over_time_are_stopped_after_their_offer() -> None:
    here = await place()
    late = e.RunTimingOut(task_id="T2", run_id=RUN_2, fence=1, worker_id="w2", grace=timedelta(0))
    here.task(TASK, leased(RUN), CANCELLING)
    here.task(TASK_2, leased(RUN_2, worker="w2"), late)

    await here.step()

    offer, stop = here.told("w1")
    assert isinstance(offer, RunOffer)
    assert stop == RunStop(task_id=TASK, run_id=RUN, fence=1, grace=timedelta(seconds=30), why="cancel")
    _, stop = here.told("w2")
    assert stop == RunStop(task_id=TASK_2, run_id=RUN_2, fence=1, grace=timedelta(0), why="timeout")


async def test_a_stop_is_sent_again_with_its_grace_to_each_beat_that_still_lists_the_run() -> None:
    here = await place()
    here.task(TASK, leased(RUN), CANCELLING)
    late = e.RunTimingOut(task_id="T2", run_id=RUN_2, fence=1, worker_id="w1", grace=timedelta(0))
    here.task(TASK_2, leased(RUN_2), late)
    await here.step()
    sent = len(here.told("w1"))
    runs = (HeldRun(run_id=RUN, fence=1, state="running"), HeldRun(run_id=RUN_2, fence=1, state="pulling"))
    here.desk.standings["w1"] = Standing(4, {RUN: 1, RUN_2: 1})

    for beat in (1, 2):
        here.desk.beats["w1"] = LastBeat("w1", 4, beat, runs)
        await here.step()

    stops = [
        RunStop(task_id=TASK, run_id=RUN, fence=1, grace=timedelta(seconds=30), why="cancel"),
        RunStop(task_id=TASK_2, run_id=RUN_2, fence=1, grace=timedelta(0), why="timeout"),
    ]
    again = here.told("w1")[sent:]
    assert [message for message in again if isinstance(message, RunStop)] == stops * 2
    (cause,) = {
        message.headers["ce-correlationid"] for message in here.broker.published if message.type == "run.stop.v1"
    }
    assert cause == "chain"


async def test_what_has_just_been_ordered_is_not_ordered_twice_at_once() -> None:
    here = await place()
    here.task(TASK, leased(RUN), CANCELLING)
    here.desk.standings["w1"] = Standing(3, {RUN: 1})
    here.desk.beats["w1"] = LastBeat("w1", 3, 812, (HeldRun(run_id=RUN, fence=1, state="running"),))

    await here.step()

    assert [message.TYPE for message in here.told("w1")] == ["run.offer.v1", "run.stop.v1", "worker.sync.v1"]


async def test_a_run_that_may_go_on_is_not_stopped_by_a_beat() -> None:
    here = await place()
    here.task(TASK, leased(RUN), CANCELLING, leased(RUN_2, fence=2))
    await here.step()
    sent = len(here.told("w1"))
    here.desk.standings["w1"] = Standing(3, {RUN_2: 2})
    here.desk.beats["w1"] = LastBeat("w1", 3, 813, (HeldRun(run_id=RUN_2, fence=2, state="running"),))

    await here.step()

    assert here.told("w1")[sent:] == [WorkerSync(generation=3, beat=813, valid=(RUN_2,), logs_stored={RUN_2: 0})]


async def test_each_beat_is_answered_once() -> None:
    here = await place()
    here.desk.beats["w1"] = LastBeat("w1", 3, 812)
    here.desk.standings["w1"] = Standing(3)

    await here.step()
    await here.step()

    assert here.told("w1") == [WorkerSync(generation=3, beat=812)]
    here.desk.beats["w1"] = LastBeat("w1", 3, 813)
    await here.step()
    assert [sync.beat for sync in here.told("w1") if isinstance(sync, WorkerSync)] == [812, 813]


async def test_beats_that_came_before_the_messenger_are_answered_though_only_the_log_is_heard() -> None:
    here = await place()
    here.desk.beats["w1"] = LastBeat("w1", 3, 812)
    log_alone = Page((), 0, frozenset({"tally_log"}))

    await here.messenger.step(log_alone)

    assert [message.TYPE for message in here.told("w1")] == [WorkerSync.TYPE]
    here.desk.beats["w1"] = LastBeat("w1", 3, 813)
    assert not await here.messenger.step(log_alone)
    assert len(here.told("w1")) == 1


async def test_beats_that_one_look_left_are_answered_though_only_the_log_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(messenger, "BEATS_AT_ONCE", 1)
    here = await place()
    here.desk.beats = {worker: LastBeat(worker, 3, 812) for worker in ("w1", "w2")}
    log_alone = Page((), 0, frozenset({"tally_log"}))

    assert await here.messenger.step(log_alone)
    await here.messenger.step(log_alone)

    assert [len(here.told(worker)) for worker in ("w1", "w2")] == [1, 1]


async def test_what_was_not_confirmed_is_sent_again() -> None:
    here = await place()
    here.task(TASK, leased(RUN))
    here.desk.beats["w1"] = LastBeat("w1", 3, 812)
    here.broker.down = Unavailable("broker: down")
    with pytest.raises(Unavailable):
        await here.step()
    assert here.seat.position == 0
    here.broker.down = None

    await here.step()

    assert [message.TYPE for message in here.told("w1")] == ["run.offer.v1", "worker.sync.v1"]


async def test_a_broker_that_says_nothing_does_not_hold_the_turn_until_a_standby_takes_it() -> None:
    class Silent:
        async def publish(self, messages: Sequence[Outgoing]) -> None:
            await asyncio.Event().wait()

    here = await place()
    here.task(TASK, leased(RUN))
    messenger = Messenger(here.seat, Silent(), NoTraces(), Ids(), send_seconds=0.01)

    with pytest.raises(Unavailable, match="no confirm"):
        await messenger.step(await here.seat.page(1000, TYPES))

    assert here.seat.position == 0


async def test_a_worker_whose_queue_is_gone_holds_up_nobody() -> None:
    here = await place()
    here.task(TASK, leased(RUN, worker="gone"))
    here.task(TASK_2, leased(RUN_2))

    await here.step()

    assert len(here.told("w1")) == 1
    assert here.seat.position == 4


async def test_offers_are_not_kept_longer_than_a_worker_may_start_them() -> None:
    here = await place()
    here.task(TASK, leased(RUN))

    await here.step()

    (message,) = here.broker.published
    assert (message.persistent, message.mandatory, message.expires_after) == (False, False, timedelta(seconds=12))
