"""What a workflow does when one of its tasks fails, as it was told: in memory and on PostgreSQL."""

from domain import events as e
from domain.folding import workflow_of
from domain.retry_spec import Retry
from domain.specs import AtLeast, DependsOn
from domain.task import Cancel, CloseLease
from domain.task_states import Cancelling, Ended, Leased
from tests.support.conducting import WORKFLOW, spec, stream
from tests.support.conducting_place import Place, place

__all__ = ["place"]


async def status(place: Place, name: str) -> str:
    state = await place.world.task(name)
    assert isinstance(state, Ended)
    return state.status


async def test_under_fail_fast_the_first_failure_cancels_all_that_have_not_ended(place: Place) -> None:
    await place.world.register("w1", slots=2)
    await place.world.submit_workflow(
        spec("a"), spec("b", priority=6), spec("c", priority=1), spec("d", "a"), on_failure="fail-fast"
    )
    await place.settle()
    await place.world.finish("a", exit_code=1)
    await place.settle()

    cancelled = (await place.world.load([WORKFLOW]))[WORKFLOW][-1]
    end = (await place.world.load([stream("a")]))[stream("a")][-1]
    assert cancelled.event() == e.WorkflowCancelled(workflow_id="W", by="saga", reason="a failed", because="a")
    assert (cancelled.cause.actor, cancelled.cause.causation_id) == ("saga", str(end.event_id))
    assert isinstance(await place.world.task("b"), Cancelling)
    assert await status(place, "d") == "skipped"
    await place.world.finish("b", exit_code=143)
    await place.settle()
    if isinstance(await place.world.task("c"), Cancelling):  # it had got the slot of `a` in the same round
        await place.world.finish("c", exit_code=143)
        await place.settle()
    assert await status(place, "c") == "cancelled"
    finished = (await place.world.load([WORKFLOW]))[WORKFLOW][-1]
    assert finished.event() == e.WorkflowFinished(workflow_id="W", failed=1, cancelled=2, skipped=1)
    assert await place.world.left_over() == 0


async def test_several_failures_at_once_cancel_a_workflow_once(place: Place) -> None:
    await place.world.register("w1", slots=3)
    await place.world.submit_workflow(spec("a"), spec("b"), spec("c"), on_failure="fail-fast")
    await place.settle()
    await place.world.finish("a", exit_code=1)
    await place.world.finish("b", exit_code=1)
    await place.settle()
    await place.world.finish("c", exit_code=1)
    await place.settle()

    types = [row.type for row in (await place.world.load([WORKFLOW]))[WORKFLOW]]
    assert types == [e.WorkflowSubmitted.TYPE, e.WorkflowCancelled.TYPE, e.WorkflowFinished.TYPE]


async def test_a_failure_after_which_nothing_is_left_cancels_nothing(place: Place) -> None:
    await place.world.register("w1", slots=2)
    await place.world.submit_workflow(spec("a"), spec("b"), on_failure="fail-fast")
    await place.settle()
    await place.world.finish("a")
    await place.settle()
    await place.world.finish("b", exit_code=1)
    await place.settle()

    rows = (await place.world.load([WORKFLOW]))[WORKFLOW]
    assert [row.type for row in rows] == [e.WorkflowSubmitted.TYPE, e.WorkflowFinished.TYPE]
    assert await place.world.left_over() == 0


async def test_a_task_that_is_quarantined_is_a_failure_of_its_workflow(place: Place) -> None:
    await place.world.register("w1", slots=2)
    specs = spec("a", retry=Retry(max_losses=0)), spec("b", "a"), spec("c")
    await place.world.submit_workflow(*specs, on_failure="fail-fast")
    await place.settle()
    state = await place.world.task("a")
    assert isinstance(state, Leased)
    await place.world.close(state.lease.run_id)
    await place.world.decide("a", CloseLease(state.lease.fence, accepted=True))
    await place.settle()

    assert await status(place, "a") == "quarantined"
    cancelled = (await place.world.load([WORKFLOW]))[WORKFLOW][-1].event()
    assert cancelled == e.WorkflowCancelled(workflow_id="W", by="saga", reason="a failed", because="a")
    assert isinstance(await place.world.task("c"), Cancelling)


async def test_a_cancelled_task_is_no_failure(place: Place) -> None:
    await place.world.register("w1", slots=2)
    await place.world.submit_workflow(spec("a"), spec("b", "a"), spec("c"), on_failure="fail-fast")
    await place.settle()
    await place.world.decide("a", Cancel("alice"))
    await place.world.finish("a", exit_code=143)
    await place.settle()

    assert workflow_of((await place.world.load([WORKFLOW]))[WORKFLOW]).status == "running"
    assert await status(place, "b") == "skipped"
    assert isinstance(await place.world.task("c"), Leased)


async def test_a_workflow_that_continues_takes_a_failure_for_an_end(place: Place) -> None:
    await place.world.register("w1", slots=8)
    await place.world.submit(spec("outside"))
    one_of = AtLeast(at_least=1, of=(DependsOn(task_id="a"),))
    strict = DependsOn(task_id="a", when="succeeded")
    await place.world.submit_workflow(
        spec("a"),
        *(spec("bare", "a"), spec("set", one_of), spec("strict", strict), spec("other", "outside")),
        upstream=["outside"],
        on_failure="continue",
    )
    await place.settle()
    await place.world.finish("a", exit_code=1)
    await place.world.finish("outside", exit_code=1)
    await place.settle()

    assert isinstance(await place.world.task("bare"), Leased)
    assert isinstance(await place.world.task("set"), Leased)
    assert await status(place, "strict") == "skipped"
    assert await status(place, "other") == "skipped"
    blocked = (await place.world.load([stream("bare")]))[stream("bare")][1].event()
    assert blocked == e.TaskBlocked(task_id="bare", by=(e.Blocker(task_id="a", needs="finished"),))
