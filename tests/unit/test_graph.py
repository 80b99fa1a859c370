"""How a workflow is drawn: in ranks, and in part."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadQuery
from domain.graph import drawn, near, ranks

NAMES = [f"t{n}" for n in range(8)]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Tasks in any order, each of which needs some that are named before it in another one."""
    order = draw(st.permutations(NAMES))
    needs = {task: draw(st.lists(st.sampled_from(["outside", *order[:at]]))) for at, task in enumerate(order)}
    return {task: needs[task] for task in draw(st.permutations(NAMES))}


def view(**needs: list[str]) -> dict[str, Any]:
    nodes = [{"task_id": task, "id": f"id-{task}", "depends_on": of} for task, of in needs.items()]
    return {
        "status": "running",
        "nodes": nodes,
        "edges": [{"from": one, "to": task} for task in needs for one in needs[task]],
    }


@given(graphs())
def test_a_task_stands_just_behind_the_last_of_those_it_needs(needs: dict[str, list[str]]) -> None:
    found = ranks(needs)

    place = {task: number for number, rank in enumerate(found) for task in rank}
    assert sorted(task for rank in found for task in rank) == sorted(needs)
    for task, of in needs.items():
        assert place[task] == max((place[one] + 1 for one in of if one in needs), default=0)


@given(graphs(), st.sampled_from(NAMES), st.integers(0, 4))
def test_near_are_those_that_so_many_steps_reach(needs: dict[str, list[str]], task: str, hops: int) -> None:
    steps = {(one, other) for one, of in needs.items() for other in of if other in needs}
    steps |= {(other, one) for one, other in steps}
    reached = {task}
    for _ in range(hops):
        reached = reached | {other for one, other in steps if one in reached}

    assert near(needs, task, hops) == reached


def test_a_drawn_workflow_keeps_what_its_view_says_and_has_ranks() -> None:
    whole = view(a=[], b=["a", "outside"], c=["a"], d=["b", "c"])

    assert drawn(whole) == {**whole, "ranks": [["a"], ["b", "c"], ["d"]]}


@pytest.mark.parametrize("around", ["b", "id-b"])
def test_around_a_task_only_its_neighbours_and_what_is_between_them_is_drawn(around: str) -> None:
    whole = view(a=[], b=["a", "outside"], c=["a"], d=["b", "c"], e=["d"])

    part = drawn(whole, around)

    assert [node["task_id"] for node in part["nodes"]] == ["a", "b", "d"]
    assert part["edges"] == [{"from": "a", "to": "b"}, {"from": "b", "to": "d"}]
    assert part["ranks"] == [["a"], ["b"], ["d"]]
    assert part["status"] == "running"


@pytest.mark.parametrize(
    ("around", "hops", "named"),
    [
        ("x", None, "around: no task x"),
        (None, 2, "hops: counts from a task"),
        ("a", 101, "hops: 101"),
        ("a", -1, "hops: -1"),
    ],
)
def test_a_part_that_cannot_be_drawn_is_refused(around: str | None, hops: int | None, named: str) -> None:
    with pytest.raises(BadQuery, match=named):
        drawn(view(a=[]), around, hops)
