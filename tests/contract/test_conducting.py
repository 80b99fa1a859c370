"""What a round of the conductor makes of the log, on every store of its rows."""

from collections import Counter

import pytest

from domain import events as e
from domain.folding import workflow_of
from domain.task import Cancel, Pause, Prioritise, Resume
from domain.task_states import Blocked, Cancelling, Ended, Leased, Paused, Queued
from tests.support.conducting import WORKFLOW, spec, stream
from tests.support.conducting_place import Place, place

__all__ = ["place"]


async def test_a_queued_task_is_leased_to_a_free_slot(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a"))

    await place.settle()

    assert isinstance(await place.world.task("a"), Leased)
    assert await place.world.leases() == {"w1": 1}


async def test_a_task_waits_while_every_slot_is_taken_and_goes_on_when_one_is_free(place: Place) -> None:
    await place.world.register("w1", slots=2)
    await place.world.submit(spec("a"), spec("b"), spec("c"))
    await place.settle()
    assert await place.world.leases() == {"w1": 2}
    assert isinstance(await place.world.task("c"), Queued)

    await place.world.finish("a")
    await place.settle()

    assert isinstance(await place.world.task("c"), Leased)


async def test_the_higher_priority_goes_first_and_among_equals_the_first_to_come(place: Place) -> None:
    await place.world.submit(spec("a"), spec("b"), spec("urgent", priority=10))
    await place.settle()
    await place.world.register("w1", slots=2)

    await place.settle()

    assert isinstance(await place.world.task("urgent"), Leased)
    assert isinstance(await place.world.task("a"), Leased)
    assert isinstance(await place.world.task("b"), Queued)


async def test_equal_workers_get_equal_shares(place: Place) -> None:
    await place.world.register("w1")
    await place.world.register("w2")
    await place.world.submit(*(spec(f"t{n}") for n in range(6)))

    await place.settle()

    assert await place.world.leases() == {"w1": 3, "w2": 3}


async def test_tasks_that_come_one_by_one_take_turns_among_idle_workers(place: Place) -> None:
    shares: Counter[str] = Counter()
    await place.world.register("w1")
    await place.world.register("w2")
    for n in range(6):
        await place.world.submit(spec(f"t{n}"))
        place.world.wait()
        await place.settle()
        shares += await place.world.leases()
        await place.world.finish(f"t{n}")

    assert shares == {"w1": 3, "w2": 3}


async def test_only_a_worker_of_the_pool_gets_a_task(place: Place) -> None:
    await place.world.register("w1", pool="gpu")
    await place.world.submit(spec("a"))

    await place.settle()

    assert isinstance(await place.world.task("a"), Queued)


async def test_a_worker_that_has_not_beaten_in_its_generation_gets_nothing(place: Place) -> None:
    await place.world.register("w1")
    await place.world.register("w1", instance=2)
    await place.world.beat("w1", generation=1, beat=9)
    await place.world.submit(spec("a"))

    await place.settle()

    assert isinstance(await place.world.task("a"), Queued)


async def test_a_finished_task_frees_its_dependant_which_is_leased_in_the_same_round(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit_workflow(spec("a"), spec("b", "a"))
    await place.settle()
    assert isinstance(await place.world.task("b"), Blocked)

    await place.world.finish("a")
    await place.settle()

    assert await place.world.types("b") == ["submitted", "blocked", "queued", "run-leased"]
    freed, leased = (await place.world.load([stream("b")]))[stream("b")][2:]
    end = (await place.world.load([stream("a")]))[stream("a")][-1]
    assert (freed.cause.actor, freed.cause.causation_id) == ("saga", str(end.event_id))
    assert (leased.cause.actor, leased.cause.causation_id) == ("dispatcher", str(end.event_id))


async def test_all_dependencies_must_succeed_and_one_failure_skips(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit_workflow(spec("a"), spec("b"), spec("both", "a", "b"), spec("after", "both"))
    await place.settle()
    await place.world.finish("a")
    await place.settle()
    assert isinstance(await place.world.task("both"), Blocked)

    await place.world.finish("b", exit_code=1)
    await place.settle()

    assert await place.world.types("both") == ["submitted", "blocked", "skipped"]
    assert await place.world.types("after") == ["submitted", "blocked", "skipped"]
    (skipped,) = (await place.world.load([stream("after")]))[stream("after")][2:]
    assert skipped.event() == e.TaskSkipped(task_id="after", because="both")


async def test_a_dependency_that_ended_long_ago_counts(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("old"), spec("broken"))
    await place.settle()
    await place.world.finish("old")
    await place.world.finish("broken", exit_code=1)
    await place.settle()

    await place.world.submit(spec("good", "old"), spec("bad", "old", "broken"))
    await place.settle()

    assert isinstance(await place.world.task("good"), Leased)
    assert await place.world.types("bad") == ["submitted", "blocked", "skipped"]


async def test_a_workflow_finishes_when_its_last_task_ends(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit_workflow(spec("a"), spec("b", "a"), spec("c"))
    await place.settle()
    await place.world.finish("a", exit_code=1)
    await place.settle()
    rows = (await place.world.load([WORKFLOW]))[WORKFLOW]
    assert workflow_of(rows).status == "running"

    await place.world.finish("c")
    await place.settle()

    rows = (await place.world.load([WORKFLOW]))[WORKFLOW]
    assert rows[-1].event() == e.WorkflowFinished(workflow_id="W", succeeded=1, failed=1, skipped=1)
    assert await place.world.left_over() == 0


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
async def test_of_two_ends_in_one_page_the_later_one_ends_the_workflow(place: Place, order: tuple[str, str]) -> None:
    await place.world.register("w1", slots=2)
    await place.world.submit_workflow(spec("a"), spec("b"))
    await place.settle()

    for name in order:
        await place.world.finish(name)
    await place.settle()

    last = (await place.world.load([stream(order[-1])]))[stream(order[-1])][-1]
    finished = (await place.world.load([WORKFLOW]))[WORKFLOW][-1]
    assert finished.event() == e.WorkflowFinished(workflow_id="W", succeeded=2)
    assert finished.cause.causation_id == str(last.event_id)


async def test_cancelling_a_workflow_cancels_each_of_its_tasks_that_has_not_ended(place: Place) -> None:
    await place.world.register("w1", slots=2)
    await place.world.submit_workflow(spec("a"), spec("b"), spec("c"), spec("d", "a"))
    await place.settle()
    await place.world.finish("a")

    await place.world.cancel_workflow()
    await place.settle()

    assert isinstance(await place.world.task("b"), Cancelling)
    assert (await place.world.types("c"))[-1] in {"cancelled", "cancelling"}
    assert (await place.world.types("d"))[-1] == "cancelled"
    cancelled = (await place.world.load([stream("d")]))[stream("d")][-1].event()
    assert cancelled == e.TaskCancelled(task_id="d", by="alice", reason="no longer needed")


async def test_a_task_given_a_higher_priority_while_it_waits_goes_first(place: Place) -> None:
    await place.world.submit(spec("first"), spec("second"), spec("third"))
    await place.settle()
    await place.world.decide("third", Prioritise(9))
    await place.world.decide("first", Prioritise(1))
    await place.settle()

    await place.world.register("w1", slots=2)
    await place.settle()

    leased = [name for name in ("first", "second", "third") if isinstance(await place.world.task(name), Leased)]
    assert leased == ["second", "third"]


async def test_a_paused_task_is_leased_only_when_it_is_resumed(place: Place) -> None:
    await place.world.submit(spec("a"), spec("b"), spec("c", "b"))
    await place.settle()
    await place.world.decide("a", Pause("bob"))
    await place.world.decide("c", Pause("bob"))
    await place.world.register("w1", slots=3)
    await place.settle()
    assert isinstance(await place.world.task("a"), Paused)
    await place.world.finish("b")
    await place.settle()
    assert isinstance(await place.world.task("c"), Paused)

    await place.world.decide("a", Resume("bob"))
    await place.world.decide("c", Resume("bob"))
    await place.settle()

    assert isinstance(await place.world.task("a"), Leased)
    assert isinstance(await place.world.task("c"), Leased)


async def test_a_task_cancelled_in_the_queue_is_never_leased(place: Place) -> None:
    await place.world.submit(spec("a"))
    await place.settle()
    await place.world.register("w1")
    await place.world.decide("a", Cancel("alice"))

    await place.settle()

    assert isinstance(await place.world.task("a"), Ended)
    assert await place.world.left_over() == 0


async def test_a_fan_out_drains_in_rounds(place: Place) -> None:
    await place.world.register("w1", slots=1)
    width = 230
    await place.world.submit_workflow(spec("root"), *(spec(f"leaf{n}", "root") for n in range(width)))
    await place.settle()

    await place.world.finish("root")
    await place.settle()

    leaves = [stream(f"leaf{n}") for n in range(width)]
    rows = await place.world.load(leaves)
    assert sum(events[2].type == e.TaskQueued.TYPE for events in rows.values()) == width
    assert await place.world.leases() == {"w1": 1}
