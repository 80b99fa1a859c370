"""What the conductor makes of workflows that come in several messages; on every store."""

import pytest

from domain import events as e
from domain.task import Cancel
from tests.support.conducting import WORKFLOW, spec, stream
from tests.support.conducting_place import Place, place

__all__ = ["place"]


async def events(place: Place) -> list[e.Event]:
    """The workflow's history after its submission."""
    return [row.event() for row in (await place.world.load([WORKFLOW]))[WORKFLOW]][1:]


def node(name: str, *needs: str) -> e.Node:
    return e.Node(task_id=name, stream=stream(name), depends_on=needs)


@pytest.mark.parametrize("at_once", [True, False], ids=["in one page", "page by page"])
async def test_a_workflow_is_complete_when_its_last_part_has_come_and_all_its_tasks_have_ended(
    place: Place, at_once: bool
) -> None:
    await place.world.register("w1")
    await place.world.submit_workflow(spec("a"), more=True)
    if not at_once:
        await place.settle()
        await place.world.finish("a")
        await place.settle()
        assert await events(place) == []
    await place.world.submit_workflow(spec("b", "a"), upstream=["a"], more=True)
    await place.world.submit_workflow(spec("c", "b"), upstream=["b"])
    await place.settle()
    for name in ("a", "b", "c") if at_once else ("b", "c"):
        await place.world.finish(name)
        await place.settle()

    assert await events(place) == [
        e.WorkflowExtended(workflow_id="W", tasks=(node("b", "a"),), open=True),
        e.WorkflowExtended(workflow_id="W", tasks=(node("c", "b"),)),
        e.WorkflowFinished(workflow_id="W", succeeded=3),
    ]
    assert await place.world.left_over() == 0


async def test_a_workflow_whose_tasks_have_all_ended_is_complete_once_its_last_part_says_so(place: Place) -> None:
    await place.world.submit_workflow(spec("a"), more=True)
    await place.world.decide("a", Cancel("alice"))
    await place.settle()
    await place.world.submit_workflow(spec("b"))
    await place.world.decide("b", Cancel("alice"))
    await place.settle()

    assert (await events(place))[-1] == e.WorkflowFinished(workflow_id="W", cancelled=2)
    assert await place.world.left_over() == 0


async def test_an_open_workflow_whose_tasks_have_ended_is_complete_when_it_is_cancelled(place: Place) -> None:
    await place.world.submit_workflow(spec("a"), more=True)
    await place.world.decide("a", Cancel("alice"))
    await place.settle()
    assert await events(place) == []

    await place.world.cancel_workflow()
    await place.settle()

    assert (await events(place))[-1] == e.WorkflowFinished(workflow_id="W", cancelled=1)
    assert await place.world.left_over() == 0


@pytest.mark.parametrize("first", [True, False], ids=["of the first part", "of a later part"])
async def test_a_failure_in_any_part_fails_the_whole_fast(place: Place, first: bool) -> None:
    await place.world.register("w1", slots=2)
    await place.world.submit_workflow(spec("a"), more=True, on_failure="fail-fast")
    await place.world.submit_workflow(spec("b"), spec("c", "a", "b"), upstream=["a"], more=True)
    await place.settle()

    await place.world.finish("a" if first else "b", exit_code=1)
    await place.settle()
    await place.world.finish("b" if first else "a")
    await place.settle()

    history = await events(place)
    failed = "a" if first else "b"
    assert history[1] == e.WorkflowCancelled(workflow_id="W", by="saga", reason=f"{failed} failed", because=failed)
    assert isinstance(history[-1], e.WorkflowFinished)
    assert (await place.world.types("c"))[-1] in {"cancelled", "skipped"}
    assert await place.world.left_over() == 0
