"""What a workflow looks like now: its graph and its end. How its tasks stand is the tasks' own. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple, get_args
from uuid import UUID

from domain import events as e
from domain.recorded import Recorded
from domain.task_view import compact, trace_id


class WorkflowView(NamedTuple):
    """`status`: running, cancelled or failed (its tasks may still be ending until `completed_at`), succeeded.

    `open`: further tasks are to come. `because`: the task for whose failure it was cancelled under fail-fast.
    `retry_of`: the workflow whose failed tasks this one does once more.
    `nodes`: JSON text, a list of objects with task_id, id and depends_on (task_ids).
    """

    id: UUID
    namespace: str
    workflow_id: str
    status: str
    tasks: int
    on_failure: str
    nodes: str
    trace_id: str | None
    correlation_id: str
    created_at: datetime
    updated_at: datetime
    version: int
    position: int
    completed_at: datetime | None = None
    cancelled_by: str | None = None
    cancel_reason: str | None = None
    because: str | None = None
    retry_of: UUID | None = None
    open: bool = False


WORKFLOW_TYPES = frozenset(cls.TYPE for cls in get_args(e.WorkflowEvent))


def workflow_key(recorded: Recorded, event: e.Event) -> UUID:
    """The row that an event of WORKFLOW_TYPES changes."""
    return recorded.stream


def project_workflow(row: WorkflowView | None, recorded: Recorded, event: e.Event) -> WorkflowView:
    """The row after `event`. Raises ValueError if the stream does not begin with its submission."""
    if isinstance(event, e.WorkflowSubmitted):
        return _submitted(recorded, event)
    if row is None:
        raise ValueError(f"stream {recorded.stream}: {recorded.type} before {e.WorkflowSubmitted.TYPE}")
    row = row._replace(version=recorded.version, position=recorded.position, updated_at=recorded.recorded_at)
    match event:
        case e.WorkflowExtended(tasks=tasks):
            nodes = _joined(row.nodes, _nodes(tasks))
            return row._replace(tasks=row.tasks + len(tasks), nodes=nodes, open=bool(event.open))
        case e.WorkflowCancelled(because=because) if because is not None:
            return row._replace(status="failed", because=because, open=False)
        case e.WorkflowCancelled(by=by, reason=reason):
            return row._replace(status="cancelled", cancelled_by=by, cancel_reason=reason, open=False)
        case e.WorkflowFinished():
            return row._replace(status=_end(row, event), completed_at=recorded.recorded_at)
        case _:
            return row


def _submitted(recorded: Recorded, event: e.WorkflowSubmitted) -> WorkflowView:
    return WorkflowView(
        id=recorded.stream,
        namespace=recorded.namespace,
        workflow_id=event.workflow_id,
        status="running",
        tasks=len(event.tasks),
        on_failure=event.on_failure,
        retry_of=event.retry_of.stream if event.retry_of else None,
        nodes=_nodes(event.tasks),
        trace_id=trace_id(recorded.cause.traceparent),
        correlation_id=recorded.cause.correlation_id,
        created_at=recorded.recorded_at,
        updated_at=recorded.recorded_at,
        version=recorded.version,
        position=recorded.position,
        open=bool(event.open),
    )


def _nodes(tasks: Iterable[e.Node]) -> str:
    return compact(
        [{"task_id": node.task_id, "id": str(node.stream), "depends_on": list(node.depends_on)} for node in tasks]
    )


def _joined(nodes: str, more: str) -> str:
    """Two JSON lists as one; the first is not empty."""
    return nodes if more == "[]" else f"{nodes[:-1]},{more[1:]}"


def _end(row: WorkflowView, event: e.WorkflowFinished) -> str:
    if row.status != "running":
        return row.status
    return "succeeded" if event.succeeded == row.tasks else "failed"
