"""What is recorded of a task's runs."""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from domain.messages import Message
from domain.reports import LogEnd, RunError


class RunLeased(Message):
    """A worker was given a run. It may start it until `within` after it sent its beat number `beat`. `fallback`: with
    the image or command that stands in when all other runs have failed.

    `expires_at`: from here on the platform may lease again unless a beat has listed the run. `filled`: the version at
    which its templates were filled; absent: what its submission says is what it runs.
    """

    TYPE = "task.run-leased.v1"
    task_id: str
    run_id: UUID
    run: Annotated[int, Field(ge=1)]
    fence: Annotated[int, Field(ge=1)]
    worker_id: str
    generation: int
    beat: int
    within: timedelta
    expires_at: datetime
    fallback: bool | None = None
    filled: int | None = None


class RunStarted(Message):
    """A run's container was started (executor noop: the run began)."""

    TYPE = "task.run-started.v1"
    task_id: str
    run_id: UUID
    run: int
    fence: int
    worker_id: str
    container_id: str | None = None
    image_digest: str | None = None


class RunSucceeded(Message):
    """A run ended with exit code 0. `oom_killed`: the engine killed a process of it for memory; absent: none."""

    TYPE = "task.run-succeeded.v1"
    task_id: str
    run_id: UUID
    run: int
    fence: int
    exit_code: int | None = None
    oom_killed: bool | None = None
    log: LogEnd | None = None


class RunFailed(Message):
    """A run ended without success. The exit code, the out-of-memory flag and our signal are the worker's, raw.

    `retry_at`: when the task is queued for its next run; absent: there is none. `fallback`: that one is the last, with
    the image or command that the task names for it. `verified` False: its container was not seen gone, and may run on
    beside the next.
    """

    TYPE = "task.run-failed.v1"
    task_id: str
    run_id: UUID
    run: int
    fence: int
    reason: str
    exit_code: int | None = None
    oom_killed: bool = False
    signal: str | None = None
    error: RunError | None = None
    log: LogEnd | None = None
    retry_at: datetime | None = None
    fallback: bool | None = None
    verified: bool | None = None


class RunTimingOut(Message):
    """A run is past its time and is being stopped. It is *timed out* only when its container is gone."""

    TYPE = "task.run-timing-out.v1"
    task_id: str
    run_id: UUID
    fence: int
    worker_id: str
    grace: timedelta


class LeaseExpired(Message):
    """A lease ran out. `accepted`: the worker had listed the run; False: the offer was never taken."""

    TYPE = "task.lease-expired.v1"
    task_id: str
    run_id: UUID
    fence: int
    worker_id: str
    accepted: bool


class RunLost(Message):
    """A run was lost with its worker, which nobody hears, or is given up by it: `error` says why, absent: silence.

    `certain` False: it may still be running where nobody hears it. `retry_at` and `fallback`: as of a run that failed.
    """

    TYPE = "task.run-lost.v1"
    task_id: str
    run_id: UUID
    run: int
    fence: int
    certain: bool = False
    error: RunError | None = None
    retry_at: datetime | None = None
    fallback: bool | None = None


class LateResultIgnored(Message):
    """A report came after its lease, or its task, was over: recorded, without power."""

    TYPE = "task.late-result-ignored.v1"
    task_id: str
    run_id: UUID
    fence: int
    report: Literal["run.start.v1", "run.finish.v1"]
    exit_code: int | None = None
