"""What the end of a run means: success, or the reason that its history, its views and its retries speak of; and whether
another run follows, and when. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from domain.reports import RunFinish
from domain.retry_spec import MAX_LOSSES, Fallback, Retry, exit_codes
from domain.specs import Container

EXHAUSTED = "retries-exhausted"
LOST = "lost"
"""The code of an end that a worker made because the run's lease was gone."""
NOT_STARTED = frozenset({"engine-down", "engine-timeout", "disk-full"})
"""What kept a worker from starting a container and is not the task's doing: another worker may start it."""


def reason_of(finish: RunFinish, timed_out: bool) -> str | None:
    """None for success, else `timeout`, the worker's own error code, `oom`, `exit-nonzero` or `unknown-outcome`.

    A run that was being stopped for its time is a timeout whatever its exit code says; the raw code is kept beside.
    One that exits with 0 has succeeded, even if a process that it began was killed for memory.
    """
    if timed_out:
        return "timeout"
    if finish.error is not None:
        return finish.error.code
    if finish.oom_killed and finish.exit_code != 0:
        return "oom"
    if finish.exit_code is None and finish.container_id is not None:
        return "unknown-outcome"
    return None if finish.exit_code in (None, 0) else "exit-nonzero"


def is_loss(finish: RunFinish) -> bool:
    """Whether an end says nothing of the task: its worker could not start it, or ended it as its lease was gone."""
    code = finish.error.code if finish.error is not None else None
    return code == LOST or (code in NOT_STARTED and finish.container_id is None)


def loses(retry: Retry | None, losses: int) -> bool:
    """Whether a loss after `losses` others brings no new run for nothing any more."""
    return losses >= (MAX_LOSSES if retry is None else retry.max_losses)


@dataclass(frozen=True, slots=True)
class Failure:
    """The run that failed, the `number`th of its task."""

    run_id: UUID
    number: int
    reason: str
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class NextRun:
    """Another run follows, and when. `fallback`: with what stands in for those that failed, and no other follows it."""

    at: datetime
    fallback: bool | None = None


def retries(retry: Retry | None, failure: Failure) -> bool:
    """Whether a run that failed so may be followed by another."""
    return retry is not None and any(_names(one, failure) for one in retry.on)


def _names(on: str, failure: Failure) -> bool:
    if on.startswith("exit:"):
        return failure.reason == "exit-nonzero" and failure.exit_code in exit_codes(on)
    return on == failure.reason


def wait_after(retry: Retry, failure: Failure) -> timedelta:
    """The time from the end of a run that failed to the next: its step, less up to a half at random.

    The chance is in the id of the run, so that the same decision comes out the same.
    """
    if not retry.first:
        return timedelta(0)
    doubled = failure.number - 1 if retry.backoff == "exponential" else 0
    step = retry.first * min(2.0**doubled, retry.longest / retry.first)
    return step * (1 - (failure.run_id.int & 0xFFFF) / 0x1FFFF)


def next_run(retry: Retry | None, failure: Failure, now: datetime) -> NextRun | None:
    """What follows a run that failed; None: the end of the task."""
    if retry is None:
        return None
    if retries(retry, failure) and failure.number < retry.max_runs:
        return NextRun(now + wait_after(retry, failure))
    stands_in = retry.fallback is not None and (failure.reason != LOST or LOST in retry.on)
    return NextRun(now, fallback=True) if stands_in else None


def final_reason(retry: Retry | None, failure: Failure) -> str:
    """Why the task failed with its last run: as that run, unless it failed as it may and as often as it may."""
    tried = retry is not None and retry.max_runs > 1 and retries(retry, failure)
    return EXHAUSTED if tried else failure.reason


def instead(container: Container, fallback: Fallback) -> Container:
    """The container of the run that stands in for those that failed."""
    given = {name: value for name in ("image", "command") if (value := getattr(fallback, name)) is not None}
    return container.model_copy(update=given)
