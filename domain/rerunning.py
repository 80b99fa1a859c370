"""A finished workflow once more from its failed tasks, as a new one. Pure."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from graphlib import TopologicalSorter
from uuid import UUID

from domain import events as e
from domain.dependencies import MEETS, Requirement, requirements, settle, standing
from domain.errors import BadState
from domain.filling import reading_as
from domain.forking import without_past
from domain.specs import AtLeast, DependsOn, TaskSpec
from domain.submitting import Whole, submit_workflow
from domain.task import Skip
from domain.task_states import Ended, Task
from domain.task_type import Types, kept
from domain.workflow import Workflow

LONGEST = 128
TRIED = 8
"""How many numbers are tried for the names of the new tasks."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """An old task that runs again: the new one's name, None: none of its user's, and its stream."""

    old: Task
    name: str | None
    stream: UUID


def to_rerun(old: Workflow, tasks: Mapping[UUID, Task]) -> list[Task]:
    """The tasks that did not succeed, and those that began because of how one of these ended, in the graph's order.

    A task that succeeded is kept when what it needs is met by kept tasks alone. `tasks`: those of `old`, by stream.
    Raises BadState when it has not finished, or when nothing of it would run.
    """
    name = old.submitted.workflow_id
    if old.status != "finished":
        raise BadState(f"workflow {name} has not finished: cancel it first, or wait for its end")
    states = {node.task_id: tasks[node.stream] for node in old.tasks}
    order = [one for one in _sorted(old) if one in states]
    again: set[str] = set()
    for one in order:
        kept = states.keys() - again
        if not (_status(states[one]) == "succeeded" and all(_stands(need, again, kept) for need in _of(states[one]))):
            again.add(one)
    if not again:
        raise BadState(f"workflow {name}: all of its tasks have succeeded; nothing is left to run again")
    if again == (skipped := _skipped_again(order, states, again)):
        raise BadState(f"workflow {name}: {min(skipped)} would be skipped again, and nothing else is left to run again")
    return [states[node.task_id] for node in old.tasks if node.task_id in again]


def resubmitted(
    old: Workflow, again: Sequence[Renewed], workflow: Whole, now: datetime
) -> tuple[e.WorkflowSubmitted, dict[UUID, list[e.TaskEvent]]]:
    """The new workflow's first event and those of its tasks, by stream.

    They depend on each other as before, and on the old tasks that are kept.
    """
    names = {one.old.task_id: one.name or str(one.stream) for one in again}
    specs = [(_spec(one, names, now), one.stream) for one in again]
    upstream = {
        need.task_id: need.stream
        for one in again
        for need in one.old.facts.submitted.depends_on
        if need.task_id not in names
    }
    types = Types("", kept={one.stream: kept(one.old.facts.submitted, one.old.facts.submitted.spec) for one in again})
    submitted, firsts = submit_workflow(workflow, specs, upstream, types)
    for one in again:
        first, *rest = firsts[one.stream]
        origin = e.Upstream(task_id=one.old.task_id, stream=one.old.id)
        firsts[one.stream] = [first.model_copy(update={"retry_of": origin}), *rest]
    former = e.FormerWorkflow(workflow_id=old.submitted.workflow_id, stream=old.id)
    return submitted.model_copy(update={"retry_of": former}), firsts


def numbered(old: Workflow) -> list[dict[str, str]]:
    """New names for its tasks, to choose from: `extract` becomes `extract:2`, each with the same number."""
    split = {node.task_id: _split(node.task_id) for node in old.tasks}
    first = 1 + max((number for _, number in split.values()), default=1)
    return [
        {name: _short(stem, f":{number}") for name, (stem, _) in split.items()}
        for number in range(first, first + TRIED)
    ]


def renewed(old: Workflow, again: Sequence[tuple[Task, UUID]], taken: Callable[[str], bool]) -> list[Renewed]:
    """Each task with its new stream and name: the first of `numbered` of which none is taken and none is there twice,
    else by the ends of their streams. A task whose user gave it no name has none again."""
    named = [task.task_id for task, _ in again if task.facts.submitted.spec.task_id is not None]
    for some in numbered(old):
        names = {name: some[name] for name in named}
        if len(set(names.values())) == len(names) and not any(map(taken, names.values())):
            break
    else:
        streams = {task.task_id: stream for task, stream in again}
        names = {name: _short(_split(name)[0], f":{streams[name].hex[-12:]}") for name in named}
    return [Renewed(task, names.get(task.task_id), stream) for task, stream in again]


def _sorted(old: Workflow) -> Iterable[str]:
    return TopologicalSorter({node.task_id: node.depends_on for node in old.tasks}).static_order()


def _status(state: Task) -> str | None:
    return state.status if isinstance(state, Ended) else None


def _of(state: Task) -> list[Requirement]:
    return requirements(state.facts.submitted.spec.depends_on)


def _stands(need: Requirement, again: Collection[str], kept: Collection[str]) -> bool:
    """Whether what was met is met still: nothing of it runs again, or enough of what is kept."""
    if not any(name in again for name in need.of):
        return True
    return sum(name in kept and "succeeded" in MEETS[when] for name, when in need.of.items()) >= need.at_least


def _skipped_again(order: Sequence[str], states: Mapping[str, Task], again: set[str]) -> set[str]:
    """Those of `again` that would be skipped whatever the others do."""
    ends = {name: "succeeded" for name in states if name not in again}
    for name in order:
        if name in again and isinstance(settle([standing(need, ends) for need in _of(states[name])]), Skip):
            ends[name] = "skipped"
    return {name for name in again if name in ends}


def _spec(one: Renewed, names: Mapping[str, str], now: datetime) -> TaskSpec:
    spec = one.old.facts.submitted.spec
    needs = tuple(
        need.model_copy(update={"of": tuple(_renamed(name, names) for name in need.of)})
        if isinstance(need, AtLeast)
        else _renamed(need, names)
        for need in spec.depends_on
    )
    # The worker of a task that is kept may be gone for good.
    same = names.get(spec.requires.same_worker_as or "")
    requires = spec.requires.model_copy(update={"same_worker_as": same})
    changes = {"task_id": one.name, "priority": one.old.priority, "depends_on": needs, "requires": requires}
    return without_past(reading_as(spec.model_copy(update=changes), names), now)


def _renamed(need: DependsOn, names: Mapping[str, str]) -> DependsOn:
    return need.model_copy(update={"task_id": names.get(need.task_id, need.task_id)})


def _split(name: str) -> tuple[str, int]:
    """A name without the number at its end, and that number; 1 without one."""
    numbered = re.fullmatch(r"(.+):([2-9]|[1-9][0-9]{1,5})", name)
    return (numbered[1], int(numbered[2])) if numbered else (name, 1)


def _short(stem: str, suffix: str) -> str:
    return stem[: LONGEST - len(suffix)] + suffix
