"""What one run of a task looks like now: folded from those of the task's events that name it. Pure."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

from domain import events as e
from domain.recorded import Recorded
from domain.reports import LogEnd, RunError
from domain.task_view import Changes, compact

MAX_BIGINT = 2**63 - 1
"""What a column can hold; a worker may report any number of bytes."""


class RunView(NamedTuple):
    """`status`: leased running stopping succeeded failed cancelled lost not-accepted; the last two have no outcome.

    `number` counts from 1 in its task; `fence`, `worker_id` and `leased_at` are of its latest lease. `version`
    and `position`: of the last event in it. `signal`: what the worker sent. `error`: JSON text with code and detail.
    `log_truncated`: it printed more than the `log_bytes` that were kept.
    """

    id: UUID
    namespace: str
    task: UUID
    task_id: str
    number: int
    fence: int
    worker_id: str
    status: str
    leased_at: datetime
    version: int
    position: int
    started_at: datetime | None = None
    ended_at: datetime | None = None
    container_id: str | None = None
    image_digest: str | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    signal: str | None = None
    reason: str | None = None
    error: str | None = None
    log_bytes: int | None = None
    log_sha256: str | None = None
    log_truncated: bool | None = None


def run_key(recorded: Recorded, event: e.Event) -> UUID:
    """The row that an event of RUN_TYPES changes."""
    run_id: UUID = cast("Any", event).run_id
    return run_id


def project_run(row: RunView | None, recorded: Recorded, event: e.Event) -> RunView:
    """The row after `event`, one that names the run. Raises ValueError if the run was never leased."""
    if row is None:
        if type(event) is not e.RunLeased:
            raise ValueError(f"stream {recorded.stream}: {recorded.type} of a run before {e.RunLeased.TYPE}")
        return RunView(
            id=event.run_id,
            namespace=recorded.namespace,
            task=recorded.stream,
            task_id=event.task_id,
            number=event.run,
            fence=event.fence,
            worker_id=event.worker_id,
            status="leased",
            leased_at=recorded.recorded_at,
            version=recorded.version,
            position=recorded.position,
        )
    changes = _CHANGES[type(event)](row, recorded.recorded_at, event)
    return row._replace(version=recorded.version, position=recorded.position, **changes)


def _leased(row: RunView, at: datetime, event: e.RunLeased) -> Changes:
    lease = {"fence": event.fence, "worker_id": event.worker_id, "leased_at": at}
    return {**lease, "status": "leased", "reason": None, "ended_at": None}


def _started(row: RunView, at: datetime, event: e.RunStarted) -> Changes:
    container = {"container_id": event.container_id, "image_digest": event.image_digest}
    return {**container, "started_at": at, "status": "stopping" if row.status == "stopping" else "running"}


def _timing_out(row: RunView, at: datetime, event: e.RunTimingOut) -> Changes:
    return {"status": "stopping", "reason": "timing-out"}


def _cancelling(row: RunView, at: datetime, event: e.TaskCancelling) -> Changes:
    return {"status": "stopping", "reason": "cancelling"}


def _expired(row: RunView, at: datetime, event: e.LeaseExpired) -> Changes:
    return {} if event.accepted else {"status": "not-accepted", "reason": "offer-not-accepted", "ended_at": at}


def _lost(row: RunView, at: datetime, event: e.RunLost) -> Changes:
    reason = event.error.code if event.error else "lost"
    return {"status": "lost", "reason": reason, "ended_at": at, "error": _error(event.error)}


def _succeeded(row: RunView, at: datetime, event: e.RunSucceeded) -> Changes:
    end = {"status": "succeeded", "reason": None, "ended_at": at}
    raw = {"exit_code": event.exit_code, "oom_killed": bool(event.oom_killed)}
    return {**end, **raw, **_log(event.log)}


def _failed(row: RunView, at: datetime, event: e.RunFailed) -> Changes:
    return {
        "status": "cancelled" if event.reason == "cancelled" else "failed",
        "reason": event.reason,
        "ended_at": at,
        "exit_code": event.exit_code,
        "oom_killed": event.oom_killed,
        "signal": event.signal,
        "error": _error(event.error),
        **_log(event.log),
    }


def _error(error: RunError | None) -> str | None:
    return compact({"code": error.code, "detail": error.detail}) if error else None


def _log(log: LogEnd | None) -> Changes:
    if log is None:
        return {}
    kept = {"log_bytes": min(log.bytes, MAX_BIGINT), "log_sha256": log.sha256}
    return {**kept, "log_truncated": bool(log.truncated)}


_CHANGES: Mapping[type[e.Event], Callable[[RunView, datetime, Any], Changes]] = {
    e.RunLeased: _leased,
    e.RunStarted: _started,
    e.RunTimingOut: _timing_out,
    e.TaskCancelling: _cancelling,
    e.LeaseExpired: _expired,
    e.RunLost: _lost,
    e.RunSucceeded: _succeeded,
    e.RunFailed: _failed,
}
RUN_TYPES = frozenset(cls.TYPE for cls in _CHANGES)
"""Every event that names a run, but a late report: it changes none."""
