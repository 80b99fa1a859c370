"""A workflow: the graph at its submission, its cancellation, its end. Per-task progress is the tasks' own. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from domain import events as e
from domain.errors import BadState

FAILURES = frozenset({"failed", "quarantined"})
"""The ends of a task that fail a workflow under fail-fast."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """`status`: running, cancelled (its tasks may still be ending) or finished."""

    id: UUID
    version: int
    submitted: e.WorkflowSubmitted
    status: str = "running"


@dataclass(frozen=True, slots=True)
class Cancel:
    """End every task that has not ended. `because`: the task that has failed, under fail-fast."""

    by: str
    reason: str | None = None
    because: str | None = None


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
    if len(ends) == len(workflow.submitted.tasks):
        return Finish(Counter(ends.values()))
    failed = next((name for name, end in ends.items() if end in FAILURES), None)
    if failed is None or workflow.status != "running" or workflow.submitted.on_failure != "fail-fast":
        return None
    return failing_fast("saga", failed)


def decide(workflow: Workflow, command: Cancel | Finish) -> list[e.WorkflowEvent]:
    """The events that `command` adds; none when it is already so. Raises BadState."""
    workflow_id = workflow.submitted.workflow_id
    match workflow.status, command:
        case "finished", Cancel():
            raise BadState(f"workflow {workflow_id} has already finished: nothing is left to cancel")
        case "running", Cancel(by=by, reason=reason, because=because):
            return [e.WorkflowCancelled(workflow_id=workflow_id, by=by, reason=reason, because=because)]
        case "running" | "cancelled", Finish(counts=counts):
            return [e.WorkflowFinished(workflow_id=workflow_id, **counts)]
        case _:
            return []


def evolve(workflow: Workflow | None, id: UUID, event: e.Event) -> Workflow:
    """The state after `event`, the next of the stream `id`."""
    match workflow, event:
        case None, e.WorkflowSubmitted():
            return Workflow(id, 1, event)
        case Workflow(), e.WorkflowCancelled():
            return replace(workflow, version=workflow.version + 1, status="cancelled")
        case Workflow(), e.WorkflowFinished():
            return replace(workflow, version=workflow.version + 1, status="finished")
        case _:
            raise ValueError(f"stream {id}: {event.TYPE} cannot follow here")
