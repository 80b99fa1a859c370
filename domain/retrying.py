"""What the end of a run means: success, or the reason that its history, its views and its retries speak of. Pure."""

from domain.reports import RunFinish

MAX_LOSSES = 3
"""New runs that a task gets after runs lost with their workers."""
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
