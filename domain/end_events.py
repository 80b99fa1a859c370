"""How a task ends."""

from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from domain.messages import Json, Message, Value
from domain.reports import Artifact, Sha256
from domain.task_events import Upstream


class Kept(Value):
    """For so long from now on equal tasks, those of its namespace that have this key, may take the result."""

    key: Sha256
    ttl: timedelta


class CachedFrom(Upstream):
    """The equal task that a result is of, and when it had ended."""

    ended_at: datetime


class TaskSucceeded(Message):
    """A task ended well: by a run of its own, or (`cached_from`) with what an equal one had left. `cache`: its result
    is kept for others; never one that is another's, nor one of a fallback, nor one with too little memory."""

    TYPE = "task.succeeded.v1"
    task_id: str
    runs: int
    exit_code: int | None = None
    result: Json = None
    artifacts: tuple[Artifact, ...] | None = None
    cache: Kept | None = None
    cached_from: CachedFrom | None = None


class TaskFailed(Message):
    """A task ended without success. `verified`: its last container was seen gone. `detail`: what was wrong, where no
    run says it. `result`: of one with `for_each`, how its children ended."""

    TYPE = "task.failed.v1"
    task_id: str
    reason: str
    runs: int
    exit_code: int | None = None
    verified: bool = True
    detail: str | None = None
    result: Json = None


class TaskCancelling(Message):
    """A task was cancelled while a run of it was given away: the run is being stopped."""

    TYPE = "task.cancelling.v1"
    task_id: str
    run_id: UUID
    fence: int
    worker_id: str
    grace: timedelta
    by: str
    reason: str | None = None


class TaskCancelled(Message):
    """A task ended by cancellation. `verified`: nothing of it runs; else `unheard` names the run nobody could ask."""

    TYPE = "task.cancelled.v1"
    task_id: str
    by: str
    reason: str | None = None
    runs: int = 0
    exit_code: int | None = None
    verified: bool = True
    unheard: UUID | None = None


class TaskSkipped(Message):
    """A task ended unrun because a task it needed did not succeed."""

    TYPE = "task.skipped.v1"
    task_id: str
    because: str


class TaskQuarantined(Message):
    """A task ended because its runs were lost, again and again: it may be what takes workers down.

    `reason`: lost, or what kept the last worker from starting it. `verified`: its last container was seen gone.
    """

    TYPE = "task.quarantined.v1"
    task_id: str
    reason: str
    runs: int
    verified: bool = True


class TaskExpired(Message):
    """A task ended because it waited too long: in the queue, until no run of it was to begin any more, or for a task
    that nobody submitted in time, `because`."""

    TYPE = "task.expired.v1"
    task_id: str
    reason: Literal["queue-timeout", "expires-at", "forward-deadline"]
    runs: int = 0
    because: str | None = None
