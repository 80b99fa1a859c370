"""What a task looks like now: one row, folded from its own events. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias, get_args
from uuid import UUID

from domain import events as e
from domain.needs_view import needs
from domain.recorded import Recorded
from domain.specs import TaskSpec

_encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make an encoder a call
Changes: TypeAlias = dict[str, Any]


class TaskView(NamedTuple):
    """`version` and `position` are those of the last event in it; JSON texts are compact.

    `queued_at`, `worker_id`, `run_id` and `started_at` are of the latest wait and the latest run; a task that waits
    again has no worker and no start. `reason`: why it failed, was skipped, waits again or is being stopped.
    `retry_of`: the task that this one does once more; `forked_from`: the one that it was made of, with changes.
    `waits_until`: the time that a blocked task waits for, if it waits for one alone. `paused_by` and `pause_reason`:
    of the last pause, until it is resumed. `children`: how many a task with `for_each` has become; of a child `parent`,
    `parent_id` (its name) and `item_index`. `detail`: what was wrong, where no run says it. `cached_from`: the equal
    task whose result it took.
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
    waits_until: datetime | None = None
    retry_of: UUID | None = None
    paused_by: str | None = None
    pause_reason: str | None = None
    detail: str | None = None
    artifacts: str | None = None
    forked_from: UUID | None = None
    cached_from: str | None = None
    parent: UUID | None = None
    parent_id: str | None = None
    item_index: int | None = None
    children: int | None = None


TASK_TYPES = frozenset(cls.TYPE for cls in get_args(e.TaskEvent))


def task_key(recorded: Recorded, event: e.Event) -> UUID:
    """The row that an event of TASK_TYPES changes."""
    return recorded.stream


def project_task(row: TaskView | None, recorded: Recorded, event: e.Event) -> TaskView:
    """The row after `event`. Raises ValueError if the stream does not begin with its submission."""
    if type(event) is e.TaskSubmitted:
        return _submitted(recorded, event)
    if row is None:
        raise ValueError(f"stream {recorded.stream}: {recorded.type} before {e.TaskSubmitted.TYPE}")
    change = _CHANGES.get(type(event), _nothing)
    return row._replace(
        version=recorded.version,
        position=recorded.position,
        updated_at=recorded.recorded_at,
        **change(row, recorded.recorded_at, event),
    )


def status_of(events: Sequence[Recorded]) -> str:
    """How a task stands that has these events, told without reading those that may name thousands of others."""
    row = _submitted(events[0], _ANY)
    for recorded in events[1:]:
        if recorded.type in _MOVING:
            row = project_task(row, recorded, recorded.event())
    return row.status


def _submitted(recorded: Recorded, event: e.TaskSubmitted) -> TaskView:
    spec = event.spec
    container = (spec.for_each.task.container if spec.for_each else spec.container) or event.container
    of = event.child_of
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
        retry_of=event.retry_of.stream if event.retry_of else None,
        forked_from=event.forked_from.stream if event.forked_from else None,
        parent=of.stream if of else None,
        parent_id=of.task_id if of else None,
        item_index=of.index if of else None,
        depends_on=compact(needs(event)),
        spec=spec.model_dump_json(exclude_none=True),
        trace_id=trace_id(recorded.cause.traceparent),
        correlation_id=recorded.cause.correlation_id,
        created_at=recorded.recorded_at,
        updated_at=recorded.recorded_at,
        version=recorded.version,
        position=recorded.position,
    )


def _blocked(row: TaskView, at: datetime, event: e.TaskBlocked) -> Changes:
    times = [one.until for one in event.by if isinstance(one, e.BlockerTime)]
    if times and len(times) == len(event.by):
        return {"reason": "time", "waits_until": max(times)}
    return {"reason": None, "waits_until": None} if isinstance(event.by[0], e.BlockerPause) else {}


def _queued(row: TaskView, at: datetime, event: e.TaskQueued) -> Changes:
    again = None if event.after in {"dependencies", "time", "pause"} else event.after
    waits = {"status": "queued", "reason": again, "queued_at": at, "waits_until": None}
    return {**waits, "worker_id": None, "started_at": None}


def _spread(row: TaskView, at: datetime, event: e.TaskSpread) -> Changes:
    begun = {"status": "running", "reason": None, "waits_until": None}
    return {**begun, "started_at": at, "children": event.children}


def _leased(row: TaskView, at: datetime, event: e.RunLeased) -> Changes:
    lease = {"run_id": event.run_id, "run": event.run, "worker_id": event.worker_id}
    return {**lease, "exit_code": None, "oom_killed": False}


def _started(row: TaskView, at: datetime, event: e.RunStarted) -> Changes:
    return {"started_at": at, "status": "cancelling" if row.status == "cancelling" else "running"}


def _run_succeeded(row: TaskView, at: datetime, event: e.RunSucceeded) -> Changes:
    return {"exit_code": event.exit_code, "oom_killed": bool(event.oom_killed)}


def _run_failed(row: TaskView, at: datetime, event: e.RunFailed) -> Changes:
    raw = {"exit_code": event.exit_code, "oom_killed": event.oom_killed}
    return {**raw, **_delayed(event.retry_at, event.reason)}


def _run_lost(row: TaskView, at: datetime, event: e.RunLost) -> Changes:
    return _delayed(event.retry_at, event.error.code if event.error else "lost")


def _delayed(until: datetime | None, reason: str) -> Changes:
    if until is None:
        return {}
    waits = {"status": "blocked", "reason": reason, "waits_until": until}
    return {**waits, "worker_id": None, "started_at": None}


def _timing_out(row: TaskView, at: datetime, event: e.RunTimingOut) -> Changes:
    return {"reason": "timing-out"}


def _cancelling(row: TaskView, at: datetime, event: e.TaskCancelling | e.TaskRecalled) -> Changes:
    return {"status": "cancelling", "cancelled_by": event.by, "cancel_reason": event.reason}


def _succeeded(row: TaskView, at: datetime, event: e.TaskSucceeded) -> Changes:
    result = None if event.result is None else compact(event.result)
    end: Changes = {"status": "succeeded", "completed_at": at, "reason": None, "artifacts": _artifacts(event)}
    if event.cached_from is not None:
        end |= {"cached_from": compact(_first(event.cached_from)), "oom_killed": False}
    return {**end, "exit_code": event.exit_code, "result": result, "verified": True}


def _failed(row: TaskView, at: datetime, event: e.TaskFailed) -> Changes:
    end = {"status": "failed", "completed_at": at, "reason": event.reason, "detail": event.detail}
    if event.result is not None:
        end["result"] = compact(event.result)
    return {**end, "exit_code": event.exit_code, "verified": event.verified}


def _cancelled(row: TaskView, at: datetime, event: e.TaskCancelled) -> Changes:
    end = {"status": "cancelled", "completed_at": at, "reason": None, "waits_until": None}
    who = {"cancelled_by": event.by, "cancel_reason": event.reason}
    return {**end, **who, "exit_code": event.exit_code, "verified": event.verified}


def _skipped(row: TaskView, at: datetime, event: e.TaskSkipped) -> Changes:
    end = {"status": "skipped", "completed_at": at, "reason": "dependency-not-succeeded"}
    return {**end, "because": event.because, "verified": True}


def _expired(row: TaskView, at: datetime, event: e.TaskExpired) -> Changes:
    end = {"status": "expired", "completed_at": at, "reason": event.reason}
    return {**end, "because": event.because, "waits_until": None, "verified": True}


def _quarantined(row: TaskView, at: datetime, event: e.TaskQuarantined) -> Changes:
    return {"status": "quarantined", "completed_at": at, "reason": event.reason, "verified": event.verified}


def _paused(row: TaskView, at: datetime, event: e.TaskPaused) -> Changes:
    return {"status": "paused", "paused_by": event.by, "pause_reason": event.reason}


def _resumed(row: TaskView, at: datetime, event: e.TaskResumed) -> Changes:
    return {"status": "blocked", "paused_by": None, "pause_reason": None}


def _priority_changed(row: TaskView, at: datetime, event: e.TaskPriorityChanged) -> Changes:
    return {"priority": event.priority}


def _nothing(row: TaskView, at: datetime, event: e.Event) -> Changes:
    return {}


# A table, not a match: `isinstance` costs a microsecond for each pydantic class that does not fit.
_CHANGES: Mapping[type[e.Event], Callable[[TaskView, datetime, Any], Changes]] = {
    e.TaskBlocked: _blocked,
    e.TaskQueued: _queued,
    e.TaskSpread: _spread,
    e.TaskRecalled: _cancelling,
    e.RunLeased: _leased,
    e.RunStarted: _started,
    e.RunSucceeded: _run_succeeded,
    e.RunFailed: _run_failed,
    e.RunLost: _run_lost,
    e.RunTimingOut: _timing_out,
    e.TaskCancelling: _cancelling,
    e.TaskSucceeded: _succeeded,
    e.TaskFailed: _failed,
    e.TaskCancelled: _cancelled,
    e.TaskSkipped: _skipped,
    e.TaskExpired: _expired,
    e.TaskQuarantined: _quarantined,
    e.TaskPriorityChanged: _priority_changed,
    e.TaskPaused: _paused,
    e.TaskResumed: _resumed,
}


def compact(value: object) -> str:
    """JSON text of ASCII characters without spaces."""
    return _encode(value)


def trace_id(traceparent: str | None) -> str | None:
    """The trace that a W3C `traceparent` belongs to: 32 hexadecimal digits."""
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) >= 4 else None


def _artifacts(event: e.TaskSucceeded) -> str | None:
    return None if event.artifacts is None else compact([one.model_dump() for one in event.artifacts])


def _first(first: e.CachedFrom) -> dict[str, str]:
    ended_at = first.ended_at.isoformat().replace("+00:00", "Z")
    return {"task_id": first.task_id, "id": str(first.stream), "ended_at": ended_at}


_ANY = e.TaskSubmitted(task_id="-", spec=TaskSpec(executor="noop"))
_MOVING = frozenset(cls.TYPE for cls in _CHANGES if cls is not e.TaskBlocked)
