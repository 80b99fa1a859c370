"""A workflow as it is drawn: its tasks in ranks, all of them or those around one."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from domain.errors import BadQuery

FARTHEST = 100


def ranks(needs: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Each task in the rank behind the last of those that it needs, in the order of `needs` within one.

    What is needed but is no task of `needs` does not count. Without a cycle.
    """
    needed_by, left = _turned(needs), {task: len({*of} & needs.keys()) for task, of in needs.items()}
    found: list[list[str]] = []
    rank = [task for task, count in left.items() if not count]
    places = {task: place for place, task in enumerate(needs)}
    while rank:
        found.append(rank)
        free: list[str] = []
        for after in (after for task in rank for after in needed_by[task]):
            left[after] -= 1
            if not left[after]:
                free.append(after)
        rank = sorted(free, key=places.__getitem__)
    return found


def near(needs: Mapping[str, Collection[str]], task: str, hops: int) -> set[str]:
    """The tasks of `needs` from which it takes at most so many dependencies to `task`, this way or that."""
    needed_by = _turned(needs)
    seen = edge = {task}
    for _ in range(hops):
        edge = {other for one in edge for other in (*needs[one], *needed_by[one]) if other in needs} - seen
        seen = seen | edge
    return seen


def drawn(view: Mapping[str, Any], around: str | None = None, hops: int | None = None) -> dict[str, Any]:
    """The view of a workflow with the `ranks` of its tasks, first those that need none. With `around`, a task's name or
    id, only the `nodes` at most `hops` dependencies from it (left out: 1), their `edges` and `ranks`.

    Raises BadQuery for a task that is none of the workflow's, for `hops` alone, and for more than FARTHEST.
    """
    nodes: Sequence[Mapping[str, Any]] = view["nodes"]
    needs: Mapping[str, Sequence[str]] = {node["task_id"]: node["depends_on"] for node in nodes}
    if hops is not None and not 0 <= hops <= FARTHEST:
        raise BadQuery(f"hops: {hops}; give 0 to {FARTHEST}")
    if around is None:
        if hops is not None:
            raise BadQuery("hops: counts from a task; name it with around")
        return {**view, "ranks": ranks(needs)}
    middle = next((node["task_id"] for node in nodes if around in (node["task_id"], node["id"])), None)
    if middle is None:
        raise BadQuery(f"around: no task {around} in this workflow; its tasks are in nodes when around is left out")
    shown = near(needs, middle, 1 if hops is None else hops)
    return {
        **view,
        "nodes": [node for node in nodes if node["task_id"] in shown],
        "edges": [edge for edge in view["edges"] if edge["from"] in shown and edge["to"] in shown],
        "ranks": list(filter(None, ([task for task in rank if task in shown] for rank in ranks(needs)))),
    }


def _turned(needs: Mapping[str, Collection[str]]) -> Mapping[str, Sequence[str]]:
    needed_by: dict[str, list[str]] = defaultdict(list)
    for task, of in needs.items():
        for one in {*of}:
            needed_by[one].append(task)
    return needed_by
