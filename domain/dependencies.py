"""Which tasks a set of tasks needs, whether that can ever be, and what the end of one means for the others. Pure."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from domain.errors import DependencyCycle, SelfDependency
from domain.task import Free, Skip

SUCCEEDED = "succeeded"


def check_graph(needs: Mapping[str, Sequence[str]]) -> None:
    """Refuse a workflow that could never run. `needs`: task name -> names it depends on.

    Raises SelfDependency or DependencyCycle, which names the path.
    """
    for task, upstream in needs.items():
        if task in upstream:
            raise SelfDependency(f"depends_on: {task} depends on itself; remove {task} from its own depends_on")
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as cycle:
        path = " -> ".join(reversed(cycle.args[1]))
        raise DependencyCycle(f"{path}; remove one of these dependencies") from None


def settle(statuses: Mapping[str, str | None]) -> Free | Skip | None:
    """What a blocked task does next. `statuses`: upstream name -> how it ended, None while it has not.

    All succeeded: it is freed. One ended otherwise: it is skipped because of it. Else it goes on waiting.
    """
    for upstream, status in sorted(statuses.items()):
        if status is not None and status != SUCCEEDED:
            return Skip(because=upstream)
    return Free() if all(status == SUCCEEDED for status in statuses.values()) else None
