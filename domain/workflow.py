"""A workflow: the graph at its submission, its cancellation, its end. Per-task progress is the tasks' own. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from domain import events as e
from domain.errors import BadState


@dataclass(frozen=True, slots=True)
class Workflow:
    """`status`: running, cancelled (its tasks may still be ending) or finished."""

    id: UUID
    version: int
    submitted: e.WorkflowSubmitted
    status: str = "running"


@dataclass(frozen=True, slots=True)
class Cancel:
    """End every task that has not ended."""

    by: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """All tasks have ended. `counts`: status -> how many."""

    counts: Mapping[str, int]


def decide(workflow: Workflow, command: Cancel | Finish) -> list[e.WorkflowEvent]:
    """The events that `command` adds; none when it is already so. Raises BadState."""
    workflow_id = workflow.submitted.workflow_id
    match workflow.status, command:
        case "finished", Cancel():
            raise BadState(f"workflow {workflow_id} has already finished: nothing is left to cancel")
        case "running", Cancel(by=by, reason=reason):
            return [e.WorkflowCancelled(workflow_id=workflow_id, by=by, reason=reason)]
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
