"""A workflow: the graph at its submission, its cancellation, its end. Per-task progress is the tasks' own. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from domain import events as e
from domain.errors import BadState, TooManyTasks

MOST_TASKS = 10_000
FAILURES = frozenset({"failed", "quarantined"})
"""The ends of a task that fail a workflow under fail-fast."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """`status`: running, cancelled (its tasks may still be ending) or finished. `open`: further tasks are to come."""

    id: UUID
    version: int
    submitted: e.WorkflowSubmitted
    status: str = "running"
    open: bool = False
    later: tuple[e.Node, ...] = ()

    @property
    def tasks(self) -> tuple[e.Node, ...]:
        """All tasks so far."""
        return self.submitted.tasks + self.later


@dataclass(frozen=True, slots=True)
class Cancel:
    """End every task that has not ended. `because`: the task that has failed, under fail-fast."""

    by: str
    reason: str | None = None
    because: str | None = None


@dataclass(frozen=True, slots=True)
class Extend:
    """Take further tasks, the last ones unless there are `more`."""

    tasks: tuple[e.Node, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Finish:
    """All tasks have ended. `counts`: status -> how many."""

    counts: Mapping[str, int]


def failing_fast(by: str, failed: str) -> Cancel:
    """What the failure of task `failed` calls for under fail-fast."""
    return Cancel(by, reason=f"{failed} failed", because=failed)


def due(workflow: Workflow, ends: Mapping[str, str]) -> Cancel | Finish | None:
    """What the ends of its tasks call for. `ends`: task name -> how it ended."""
    if workflow.status == "finished":
        return None
    if not workflow.open and len(ends) == len(workflow.tasks):
        return Finish(Counter(ends.values()))
    failed = next((name for name, end in ends.items() if end in FAILURES), None)
    if failed is None or workflow.status != "running" or workflow.submitted.on_failure != "fail-fast":
        return None
    return failing_fast("saga", failed)


def check_room(workflow: Workflow, tasks: int) -> None:
    """Refuse further tasks of a workflow that none are to come to. Raises BadState, TooManyTasks."""
    name, there = workflow.submitted.workflow_id, len(workflow.tasks)
    if not workflow.open:
        how = "complete: its last message had no more" if workflow.status == "running" else workflow.status
        raise BadState(f"workflow_id: workflow {name} is {how}; put these tasks into another workflow")
    if there + tasks > MOST_TASKS:
        raise TooManyTasks(
            f"tasks: workflow {name} has {there} of {MOST_TASKS} at most; put further ones into another workflow"
        )


def decide(workflow: Workflow, command: Cancel | Extend | Finish) -> list[e.WorkflowEvent]:
    """The events that `command` adds; none when it is already so. Raises BadState, TooManyTasks."""
    workflow_id = workflow.submitted.workflow_id
    match workflow.status, command:
        case "finished", Cancel():
            raise BadState(f"workflow {workflow_id} has already finished: nothing is left to cancel")
        case "running", Cancel(by=by, reason=reason, because=because):
            return [e.WorkflowCancelled(workflow_id=workflow_id, by=by, reason=reason, because=because)]
        case _, Extend(tasks=tasks, more=more):
            check_room(workflow, len(tasks))
            return [e.WorkflowExtended(workflow_id=workflow_id, tasks=tasks, open=more or None)]
        case "running" | "cancelled", Finish(counts=counts) if not workflow.open:
            return [e.WorkflowFinished(workflow_id=workflow_id, **counts)]
        case _:
            return []


def evolve(workflow: Workflow | None, id: UUID, event: e.Event) -> Workflow:
    """The state after `event`, the next of the stream `id`."""
    match workflow, event:
        case None, e.WorkflowSubmitted():
            return Workflow(id, 1, event, open=bool(event.open))
        case Workflow(later=later), e.WorkflowExtended(tasks=tasks):
            return replace(workflow, version=workflow.version + 1, later=later + tasks, open=bool(event.open))
        case Workflow(), e.WorkflowCancelled():
            return replace(workflow, version=workflow.version + 1, status="cancelled", open=False)
        case Workflow(), e.WorkflowFinished():
            return replace(workflow, version=workflow.version + 1, status="finished")
        case _:
            raise ValueError(f"stream {id}: {event.TYPE} cannot follow here")
