"""What one run of a task looks like now: folded from those of the task's events that name it. Pure."""

from datetime import datetime
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from domain import events as e
from domain.recorded import Recorded
from domain.task_view import compact


class RunView(NamedTuple):
    """`status`: leased running stopping succeeded failed cancelled lost not-accepted; the last two have no outcome.

    `number` counts from 1 in its task; `fence`, `worker_id` and `leased_at` are of its latest lease. `task_version`
    and `position`: of the last event in it. `signal`: what the worker sent. `error`: JSON text with code and detail.
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


RunEvent: TypeAlias = (
    e.RunLeased
    | e.RunStarted
    | e.RunTimingOut
    | e.TaskCancelling
    | e.LeaseExpired
    | e.RunLost
    | e.RunSucceeded
    | e.RunFailed
)
_TYPES = (
    e.RunLeased,
    e.RunStarted,
    e.RunTimingOut,
    e.TaskCancelling,
    e.LeaseExpired,
    e.RunLost,
    e.RunSucceeded,
    e.RunFailed,
)


def run_key(recorded: Recorded, event: e.Event) -> UUID | None:
    """The row that an event changes; a late report changes none."""
    return event.run_id if isinstance(event, _TYPES) else None


def project_run(row: RunView | None, recorded: Recorded, event: e.Event) -> RunView:
    """The row after `event`, one that names the run. Raises ValueError if the run was never leased."""
    if row is None:
        if not isinstance(event, e.RunLeased):
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
    return row._replace(
        version=recorded.version, position=recorded.position, **_changes(row, recorded.recorded_at, event)
    )


def _changes(row: RunView, at: datetime, event: e.Event) -> dict[str, Any]:
    match event:
        case e.RunLeased(fence=fence, worker_id=worker_id):
            lease = {"fence": fence, "worker_id": worker_id, "leased_at": at}
            return {**lease, "status": "leased", "reason": None, "ended_at": None}
        case e.RunStarted(container_id=container_id, image_digest=image_digest):
            started = {"started_at": at, "container_id": container_id, "image_digest": image_digest}
            return started if row.status == "stopping" else {**started, "status": "running"}
        case e.RunTimingOut():
            return {"status": "stopping", "reason": "timing-out"}
        case e.TaskCancelling():
            return {"status": "stopping", "reason": "cancelling"}
        case e.LeaseExpired(accepted=False):
            return {"status": "not-accepted", "reason": "offer-not-accepted", "ended_at": at}
        case e.RunLost():
            return {"status": "lost", "reason": "lost", "ended_at": at}
        case e.RunSucceeded(exit_code=exit_code):
            return {"status": "succeeded", "reason": None, "ended_at": at, "exit_code": exit_code, **_log(event)}
        case e.RunFailed():
            return {**_failed(event), "ended_at": at, **_log(event)}
        case _:
            return {}


def _failed(event: e.RunFailed) -> dict[str, Any]:
    error = event.error
    return {
        "status": "cancelled" if event.reason == "cancelled" else "failed",
        "reason": event.reason,
        "exit_code": event.exit_code,
        "oom_killed": event.oom_killed,
        "signal": event.signal,
        "error": compact({"code": error.code, "detail": error.detail}) if error else None,
    }


def _log(event: e.RunSucceeded | e.RunFailed) -> dict[str, Any]:
    return {"log_bytes": event.log.bytes, "log_sha256": event.log.sha256} if event.log else {}
