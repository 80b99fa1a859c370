"""Which tasks a task needs, whether that can ever be, and what the ends of some mean for the others. Pure."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

from domain.errors import DependencyCycle, FailFastCondition, ForwardCondition, SelfDependency
from domain.specs import AtLeast, DependsOn, OnFailure, TaskSpec, When
from domain.task import Free, Skip

K = TypeVar("K", bound=Hashable)
ENDS_TOLD = 10
"""So many tasks of a long cycle are named at either end of its path."""
MEETS: Mapping[When, tuple[str, ...]] = {
    "succeeded": ("succeeded",),
    "failed": ("failed", "quarantined"),
    "finished": ("succeeded", "failed", "quarantined"),
    "always": ("succeeded", "failed", "cancelled", "skipped", "expired", "quarantined"),
}
"""The ends that meet each condition."""
_WITHIN: Mapping[OnFailure, str] = {
    "continue": "it need only have finished; say when: finished or succeeded",
    "fail-fast": "fail-fast cancels what needs its failure; need its success",
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """`at_least` of some tasks must end as wanted. `of`: task name -> how."""

    at_least: int
    of: Mapping[str, When]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a requirement stands: `met` ended as wanted, `open` have not ended. `unmet`: the least name of the others."""

    at_least: int
    met: int
    open: int
    unmet: str | None = None

    @property
    def lost(self) -> bool:
        """Whether it can no longer be met."""
        return self.met + self.open < self.at_least


def requirements(depends_on: Iterable[DependsOn | AtLeast]) -> list[Requirement]:
    """What must be met, all of it: first the tasks that are named alone, if any, then each set."""
    alone: dict[str, When] = {}
    sets: list[Requirement] = []
    for need in depends_on:
        match need:
            case DependsOn(task_id=name, condition=when):
                alone[name] = when
            case AtLeast(at_least=at_least, of=of):
                sets.append(Requirement(at_least, {one.task_id: one.condition for one in of}))
    return [Requirement(len(alone), alone), *sets] if alone else sets


def standing(requirement: Requirement, ends: Mapping[str, str]) -> Standing:
    """How it stands. `ends`: how each task that has ended did."""
    over = [name for name in requirement.of if name in ends]
    unmet = [name for name in over if ends[name] not in MEETS[requirement.of[name]]]
    met, still_open = len(over) - len(unmet), len(requirement.of) - len(over)
    return Standing(requirement.at_least, met, still_open, min(unmet, default=None))


def named(depends_on: Iterable[DependsOn | AtLeast]) -> list[str]:
    """The names of all tasks that are needed, each once."""
    return list(dict.fromkeys(name for one in requirements(depends_on) for name in one.of))


def groups(depends_on: Iterable[DependsOn | AtLeast]) -> list[Sequence[DependsOn]]:
    """What is named alone, and each set."""
    needs = list(depends_on)
    alone = [need for need in needs if isinstance(need, DependsOn)]
    return [alone, *(need.of for need in needs if isinstance(need, AtLeast))]


def carrying_on(spec: TaskSpec, members: Collection[str]) -> TaskSpec:
    """The task in a workflow of `members` that continues after failures: those it gives no condition need only have
    finished."""

    def carried(needs: Sequence[DependsOn]) -> Iterable[DependsOn]:
        given = {need.task_id for need in needs if need.when is not None}
        for need in needs:
            bare = need.task_id in members and need.task_id not in given
            yield need.model_copy(update={"when": "finished"}) if bare else need

    alone = carried([need for need in spec.depends_on if isinstance(need, DependsOn)])
    sets = [
        need.model_copy(update={"of": tuple(carried(need.of))}) for need in spec.depends_on if isinstance(need, AtLeast)
    ]
    return spec.model_copy(update={"depends_on": (*alone, *sets)})


def check_fail_fast(tasks: Mapping[str, TaskSpec], members: Collection[str]) -> None:
    """Refuse what fail-fast would cancel at the very moment it is meant for. `members`: of the whole workflow.

    Raises FailFastCondition.
    """
    for name, spec in tasks.items():
        for one in requirements(spec.depends_on):
            for needed, when in one.of.items():
                if needed in members and when != "succeeded":
                    raise FailFastCondition(
                        f"tasks: {name} needs {needed} ({when}), but fail-fast cancels {name} when {needed} fails; "
                        "need its success, or choose another on_failure"
                    )


def check_to_come(tasks: Mapping[str, TaskSpec], on_failure: OnFailure, to_come: Collection[str]) -> None:
    """Refuse conditions that would be other ones if the task came with a later message of the same workflow. `to_come`:
    tasks that nobody has submitted, and that may.

    Raises ForwardCondition.
    """
    for name, spec in tasks.items():
        for group in groups(spec.depends_on):
            given = {need.task_id for need in group if need.when is not None}
            for need in group:
                differs = need.task_id not in given if on_failure == "continue" else need.condition != "succeeded"
                if need.task_id in to_come and on_failure in _WITHIN and differs:
                    raise ForwardCondition(
                        f"depends_on: {name} needs {need.task_id} ({need.condition}), which may come with a later "
                        f"message of this workflow, where {_WITHIN[on_failure]}, or submit {need.task_id} first"
                    )


def check_graph(needs: Mapping[str, Sequence[str]]) -> None:
    """Refuse a workflow that could never run. `needs`: task name -> names it depends on.

    Raises SelfDependency or DependencyCycle, which names the path.
    """
    for task, upstream in needs.items():
        if task in upstream:
            raise SelfDependency(f"depends_on: {task} depends on itself; remove {task} from its own depends_on")
    check_cycle(needs, str)


def check_cycle(needs: Mapping[K, Iterable[K]], name: Callable[[K], str]) -> None:
    """Refuse tasks that wait for each other. Raises DependencyCycle, which names the path."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as cycle:
        names = list(map(name, reversed(cycle.args[1])))
        if (more := len(names) - 2 * ENDS_TOLD) > 0:
            names[ENDS_TOLD:-ENDS_TOLD] = [f"({more} more)"]
        path = " -> ".join(names)
        raise DependencyCycle(f"{path}; remove one of these dependencies") from None


def settle(standings: Sequence[Standing]) -> Free | Skip | None:
    """What a blocked task does next: freed once every requirement is met, skipped once one can no longer be."""
    for one in standings:
        if one.lost:
            assert one.unmet is not None, "what cannot be met has a task that ended otherwise"
            return Skip(because=one.unmet)
    return Free() if all(one.met >= one.at_least for one in standings) else None
