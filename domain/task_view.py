"""What a task looks like now: one row, folded from its own events. Pure."""

import json
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from domain import events as e
from domain.recorded import Recorded


class TaskView(NamedTuple):
    """`version` and `position` are those of the last event in it; JSON texts are compact.

    `queued_at`, `worker_id`, `run_id` and `started_at` are of the latest wait and the latest run; a task that waits
    again has no worker and no start. `reason`: why it failed, was skipped, waits again or is being stopped.
    `run`: the number of the latest run, 0 before the first. `verified` False: a container of it may still run.
    """

    id: UUID
    namespace: str
    task_id: str
    name: str
    status: str
    priority: int
    pool: str
    executor: str
    task_type: str | None
    image: str | None
    labels: dict[str, str]
    workflow: UUID | None
    workflow_id: str | None
    depends_on: str
    spec: str
    trace_id: str | None
    correlation_id: str
    created_at: datetime
    updated_at: datetime
    version: int
    position: int
    queued_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    worker_id: str | None = None
    run_id: UUID | None = None
    run: int = 0
    exit_code: int | None = None
    oom_killed: bool = False
    reason: str | None = None
    result: str | None = None
    cancelled_by: str | None = None
    cancel_reason: str | None = None
    because: str | None = None
    verified: bool | None = None


def task_key(recorded: Recorded, event: e.Event) -> UUID | None:
    """The row that an event changes."""
    return recorded.stream if recorded.type.startswith("task.") else None


def project_task(row: TaskView | None, recorded: Recorded, event: e.Event) -> TaskView:
    """The row after `event`. Raises ValueError if the stream does not begin with its submission."""
    if isinstance(event, e.TaskSubmitted):
        return _submitted(recorded, event)
    if row is None:
        raise ValueError(f"stream {recorded.stream}: {recorded.type} before {e.TaskSubmitted.TYPE}")
    return row._replace(
        version=recorded.version,
        position=recorded.position,
        updated_at=recorded.recorded_at,
        **_changes(row, recorded.recorded_at, event),
    )


def _submitted(recorded: Recorded, event: e.TaskSubmitted) -> TaskView:
    spec = event.spec
    container = spec.container or event.container
    return TaskView(
        id=recorded.stream,
        namespace=recorded.namespace,
        task_id=event.task_id,
        name=spec.name or event.task_id,
        status="blocked",
        priority=spec.priority,
        pool=spec.requires.pool,
        executor=spec.executor,
        task_type=spec.task_type,
        image=container.image if container else None,
        labels=dict(spec.labels),
        workflow=event.workflow,
        workflow_id=event.workflow_id,
        depends_on=compact([{"task_id": need.task_id, "id": str(need.stream)} for need in event.depends_on]),
        spec=spec.model_dump_json(exclude_none=True),
        trace_id=trace_id(recorded.cause.traceparent),
        correlation_id=recorded.cause.correlation_id,
        created_at=recorded.recorded_at,
        updated_at=recorded.recorded_at,
        version=recorded.version,
        position=recorded.position,
    )


def _changes(row: TaskView, at: datetime, event: e.Event) -> dict[str, Any]:
    match event:
        case e.TaskQueued(after=after):
            waits_for = None if after == "dependencies" else after
            return {
                "status": "queued",
                "reason": waits_for,
                "queued_at": at,
                "worker_id": None,
                "started_at": None,
            }
        case e.RunLeased(run_id=run_id, run=run, worker_id=worker_id):
            return {"run_id": run_id, "run": run, "worker_id": worker_id, "exit_code": None, "oom_killed": False}
        case e.RunStarted():
            return {"started_at": at, **({} if row.status == "cancelling" else {"status": "running"})}
        case e.RunSucceeded(exit_code=exit_code):
            return {"exit_code": exit_code}
        case e.RunFailed(exit_code=exit_code, oom_killed=oom_killed):
            return {"exit_code": exit_code, "oom_killed": oom_killed}
        case e.RunTimingOut():
            return {"reason": "timing-out"}
        case e.TaskCancelling(by=by, reason=reason):
            return {"status": "cancelling", "cancelled_by": by, "cancel_reason": reason}
        case _:
            return _ended(at, event)


def _ended(at: datetime, event: e.Event) -> dict[str, Any]:
    match event:
        case e.TaskSucceeded(exit_code=exit_code, result=result):
            output = None if result is None else compact(result)
            end: dict[str, Any] = {"status": "succeeded", "exit_code": exit_code, "result": output}
        case e.TaskFailed(reason=reason, exit_code=exit_code, verified=verified):
            return {
                "status": "failed",
                "completed_at": at,
                "reason": reason,
                "exit_code": exit_code,
                "verified": verified,
            }
        case e.TaskCancelled(by=by, reason=reason, exit_code=exit_code, verified=verified):
            end = {"status": "cancelled", "cancelled_by": by, "cancel_reason": reason}
            end |= {"exit_code": exit_code, "verified": verified}
        case e.TaskSkipped(because=because):
            end = {"status": "skipped", "because": because}
            return {**end, "completed_at": at, "reason": "dependency-not-succeeded"}
        case _:
            return {}
    return {**end, "completed_at": at, "reason": None}


def compact(value: object) -> str:
    """JSON text of ASCII characters without spaces."""
    return json.dumps(value, separators=(",", ":"))


def trace_id(traceparent: str | None) -> str | None:
    """The trace that a W3C `traceparent` belongs to: 32 hexadecimal digits."""
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) >= 4 else None
