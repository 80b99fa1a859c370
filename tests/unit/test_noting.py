"""What a page of events changes in the conductor's rows."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from adapters.in_memory.event_log import MemoryLog
from consumers.noting import TYPES, notes_of
from domain import events as e
from domain.caching import Entry, Look, entry_of, key_for
from domain.dispatching import Waiting, queue_key
from domain.ids import derived_id
from domain.lanes import Lane
from domain.placing import Cache
from domain.ports.conducting import Edge, Need, Notes, Timer
from domain.recorded import new_events
from domain.reports import RunFinish
from domain.retry_spec import Retry
from domain.specs import AtLeast, DependsOn, TaskSpec
from domain.submitting import submit_task
from domain.task import CloseLease, Free, Grant, Pause, Prioritise, Resume
from domain.task_states import Held
from domain.task_type import Types
from domain.worker import worker_stream
from tests.support.conducting import WORKFLOW, MemoryWorld, spec, stream
from tests.support.ended_tasks import CAUSE, NOW

GRANT = Grant("w1", 1, 1, timedelta(0))


async def noted(world: MemoryWorld, after: int = 0, up_to: int | None = None) -> Notes:
    """What the events after a position change, up to another."""
    turn = world.turn(in_seat(world.log), "conductor", NOW)
    return await notes_of(turn, [row for row in world.log.events[after:up_to] if row.type in TYPES])


def in_seat(log: MemoryLog) -> MemoryLog:
    log.seats.setdefault("conductor", (1, 0))
    return log


async def test_a_queued_task_is_noted_with_its_place_in_the_queue() -> None:
    world = MemoryWorld()
    await world.submit(spec("a", priority=7))

    notes = await noted(world)

    assert notes == Notes(queued=(Waiting(queue_key(NOW, 7), 2, stream("a"), Lane("default", "default", "noop")),))


async def test_a_change_of_priority_moves_a_task_in_the_queue_whether_it_was_queued_before_or_in_the_page() -> None:
    world = MemoryWorld()
    await world.submit(spec("a", priority=7))
    between = len(world.log.events)
    await world.decide("a", Prioritise(10))
    await world.decide("a", Prioritise(9))

    assert [one.key for one in (await noted(world)).queued] == [queue_key(NOW, 9)]
    assert await noted(world, between) == Notes(moved={stream("a"): queue_key(NOW, 9) - queue_key(NOW, 7)})


async def test_a_change_of_priority_before_a_task_is_queued_again_moves_it_no_more() -> None:
    world = MemoryWorld()
    await world.submit(spec("a", priority=7))
    await world.decide("a", GRANT)
    between = len(world.log.events)
    await world.decide("a", Prioritise(9))
    await world.decide("a", CloseLease(1, accepted=False))

    notes = await noted(world, between)

    assert ([one.key for one in notes.queued], notes.moved) == ([queue_key(NOW, 9)], {})


async def test_a_task_paused_in_the_page_or_after_it_was_queued_leaves_the_queue_and_waits_for_no_task() -> None:
    world = MemoryWorld()
    await world.submit(spec("a"))
    between = len(world.log.events)
    await world.decide("a", Pause("bob"))
    paused = len(world.log.events)
    await world.decide("a", Resume("bob"))

    assert (await noted(world, between)).queued
    assert await noted(world, 0, paused) == Notes(left=(stream("a"),))
    assert await noted(world, between, paused) == Notes(left=(stream("a"),))
    assert [one.task for one in (await noted(world, paused)).queued] == [stream("a")]


async def test_a_task_held_back_by_its_pause_alone_needs_no_other() -> None:
    world = MemoryWorld()
    await world.submit(spec("a"), spec("b", "a"))
    await world.decide("b", Pause("bob"))
    between = len(world.log.events)
    await world.decide("b", Free())

    assert await noted(world, between) == Notes()


async def test_a_task_leased_in_the_same_page_is_not_queued() -> None:
    world = MemoryWorld()
    await world.submit(spec("a"))
    await world.decide("a", GRANT)

    lane = Lane("default", "default", "noop")
    assert await noted(world) == Notes(left=(stream("a"),), lanes=(lane,))


async def test_a_task_queued_again_after_its_lease_is_queued_at_its_new_place() -> None:
    world = MemoryWorld()
    await world.submit(spec("a"))
    await world.decide("a", GRANT)
    await world.decide("a", CloseLease(1, accepted=False))

    notes = await noted(world)

    assert [one.position for one in notes.queued] == [5]
    assert notes.left == ()


async def test_a_blocked_task_is_noted_with_what_it_needs_and_strangers_are_looked_up() -> None:
    world = MemoryWorld()
    await world.submit(spec("old"))
    begin = len(world.log.events)
    await world.submit_workflow(spec("a"), spec("b", "a", "old"), upstream=["old"])

    notes = await noted(world, begin)

    assert notes.needs == (Need(stream("b"), 0, 2, 2),)
    assert notes.edges == (
        Edge(stream("b"), 0, stream("a"), "a", ("succeeded",)),
        Edge(stream("b"), 0, stream("old"), "old", ("succeeded",)),
    )
    assert notes.looked_up == (stream("old"),)
    assert notes.members == ((WORKFLOW, stream("a")), (WORKFLOW, stream("b")))


async def test_each_set_is_a_need_of_its_own_after_the_tasks_that_are_named_alone() -> None:
    world = MemoryWorld()
    await world.submit(spec("a"), spec("b"))
    begin = len(world.log.events)
    either = AtLeast(at_least=1, of=(DependsOn(task_id="a", when="failed"), DependsOn(task_id="b", when="finished")))
    await world.submit(spec("c", either, DependsOn(task_id="a", when="always")))

    notes = await noted(world, begin)

    assert notes.needs == (Need(stream("c"), 0, 1, 1), Need(stream("c"), 1, 1, 2))
    assert [(edge.need, edge.name, edge.met_by) for edge in notes.edges] == [
        (0, "a", ("succeeded", "failed", "cancelled", "skipped", "expired", "quarantined")),
        (1, "a", ("failed", "quarantined")),
        (1, "b", ("succeeded", "failed", "quarantined")),
    ]


async def test_a_started_run_is_noted_with_the_end_of_its_time() -> None:
    world = MemoryWorld()
    await world.submit(spec("a", run=timedelta(minutes=5)))
    await world.decide("a", GRANT)
    begin = len(world.log.events)
    world.log.append(new_events(stream("a"), 3, "default", [started()], CAUSE))

    notes = await noted(world, begin)

    assert notes == Notes(timers=(Timer(stream("a"), "run", 1, NOW + timedelta(minutes=5)),))


RUN = derived_id(stream("a"), "run:1")
UNTIL = NOW + timedelta(minutes=1)
END = NOW + timedelta(days=1)


@pytest.mark.parametrize(
    ("given", "events", "kinds"),
    [
        ({}, [], {}),
        ({"timeouts": {"queue": timedelta(minutes=5)}}, [], {"queue": NOW + timedelta(minutes=5)}),
        ({"expires_at": END}, [], {"expire": END}),
        ({"not_before": UNTIL, "expires_at": END}, [], {"wake": UNTIL, "expire": END}),
        ({"not_before": UNTIL, "depends_on": [{"task_id": "z"}], "expires_at": END}, [], {"expire": END}),
        ({"not_before": UNTIL, "depends_on": [{"task_id": "z"}]}, [Free()], {"wake": UNTIL}),
        ({"expires_at": END}, [GRANT], {}),
        (
            {"timeouts": {"queue": timedelta(minutes=5), "run": timedelta(minutes=2)}, "expires_at": END},
            [GRANT, "start"],
            {"run": NOW + timedelta(minutes=2)},
        ),
        (
            {"expires_at": END, "retry": Retry(first=UNTIL - NOW, max=UNTIL - NOW)},
            [GRANT, "fail"],
            {"expire": END, "wake": None},
        ),
    ],
)
async def test_what_is_due_by_time_in_each_stage_of_a_task(
    given: dict[str, Any], events: list[Any], kinds: dict[str, datetime | None]
) -> None:
    world = MemoryWorld()
    await world.submit(spec("z"))
    begin = len(world.log.events)
    await world.submit(TaskSpec.model_validate({"task_id": "a", "executor": "noop", **given}))
    for command in events:
        if command == "start":
            world.log.append(new_events(stream("a"), 3, "default", [started()], CAUSE))
        elif command == "fail":
            await world.decide("a", RunFinish(task_id=stream("a"), run_id=RUN, fence=1, container_id="c", exit_code=1))
        else:
            await world.decide("a", command)

    notes = await noted(world, begin)

    found: dict[str, datetime] = {timer.kind: timer.due for timer in notes.timers if timer.task == stream("a")}
    assert found.keys() == kinds.keys()
    assert all(due is None or found[kind] == due for kind, due in kinds.items())


async def test_of_a_task_that_ended_in_the_page_only_its_end_is_noted() -> None:
    world = MemoryWorld()
    await world.submit(spec("a"))
    await world.decide("a", GRANT)
    ended = e.TaskSucceeded(task_id="a", runs=1)
    world.log.append(new_events(stream("a"), 3, "default", [started(), ended], CAUSE))

    assert await noted(world) == Notes(ended={stream("a"): "succeeded"})


async def test_of_a_worker_its_last_registration_is_noted() -> None:
    world = MemoryWorld()
    await world.register("w1")
    await world.register("w1", instance=2)

    ((own, registered),) = (await noted(world)).workers

    assert (own, registered.generation) == (worker_stream("w1"), 2)


async def test_of_a_worker_it_is_noted_whether_it_drains_whatever_registers_beside() -> None:
    world = MemoryWorld()
    await world.register("w1")
    await world.drain("w1")
    await world.register("w1", instance=2)
    await world.register("w2")
    await world.drain("w2")
    await world.start_worker("w2")

    notes = await noted(world)

    assert notes.draining == {"w1": True, "w2": False}
    assert [registered.generation for _, registered in notes.workers] == [2, 1]


def started() -> e.RunStarted:
    return e.RunStarted(task_id="a", run_id=UUID(int=1), run=1, fence=1, worker_id="w1")


async def test_a_task_with_cache_looks_under_its_key_while_it_is_queued_and_its_success_is_kept() -> None:
    world = MemoryWorld()
    hour = timedelta(hours=1)
    await world.submit(spec("a").model_copy(update={"cache": Cache(ttl=hour)}))
    queued = len(world.log.events)
    key = key_for((await world.task("a")).facts)
    await world.decide("a", GRANT)
    leased = len(world.log.events)
    state = await world.task("a")
    assert isinstance(state, Held)
    finish = RunFinish(task_id=state.id, run_id=state.lease.run_id, fence=1, exit_code=0, result={"n": 7})
    await world.decide("a", finish)
    entry = entry_of("default", key)

    assert (await noted(world, 0, queued)).looks == (Look(stream("a"), entry, hour, NOW),)
    assert (await noted(world, 0, leased)).looks == ()
    assert await noted(world, leased) == Notes(
        ended={stream("a"): "succeeded"}, entries=(Entry(entry, stream("a"), NOW, NOW + hour),)
    )


async def test_a_task_that_is_paused_in_the_page_or_run_once_more_looks_for_nothing() -> None:
    world = MemoryWorld()
    pure = spec("a").model_copy(update={"cache": Cache()})
    again, *rest = submit_task(pure, stream("b"), {}, Types("image"))
    assert isinstance(again, e.TaskSubmitted)
    again = again.model_copy(update={"retry_of": e.Upstream(task_id="z", stream=stream("z"))})
    await world.append(new_events(stream("b"), 0, "default", [again, *rest], CAUSE))
    await world.submit(pure)
    await world.decide("a", Pause("bob"))

    assert (await noted(world)).looks == ()


async def test_a_result_that_only_looks_as_if_it_were_kept_is_not() -> None:
    world = MemoryWorld()
    await world.submit(spec("a"))
    await world.decide("a", GRANT)
    state = await world.task("a")
    assert isinstance(state, Held)
    finish = RunFinish(task_id=state.id, run_id=state.lease.run_id, fence=1, exit_code=0)
    await world.decide("a", finish.model_copy(update={"result": {"cache": {"key": "ab", "ttl": "P1D"}}}))

    assert (await noted(world)).entries == ()
