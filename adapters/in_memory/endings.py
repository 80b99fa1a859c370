"""How containers of a platform in memory end."""

from dataclasses import dataclass
from hashlib import sha256

from domain.messages import Json
from domain.reports import Artifact, LogEnd, RunError, RunFinish, RunStart
from domain.task_states import Cancelling, Held, Leased


@dataclass(frozen=True, slots=True)
class Ending:
    """How a container ends, and what it prints. `error`: the code of what kept it from starting.

    `truncated`: it prints more than is kept.
    """

    exit_code: int | None = 0
    stdout: bytes = b""
    stderr: bytes = b""
    result: Json = None
    artifacts: tuple[Artifact, ...] = ()
    error: str | None = None
    truncated: bool = False


def _log(ending: Ending) -> LogEnd:
    printed = ending.stdout + ending.stderr
    return LogEnd(bytes=len(printed), sha256=sha256(printed).hexdigest(), truncated=ending.truncated or None)


def run(state: Held, ending: Ending | None) -> RunStart | RunFinish | None:
    """What the worker reports next of a run that ends so; None: it runs on."""
    task_id, run_id, fence = state.id, state.lease.run_id, state.lease.fence
    if isinstance(state, Leased) and (ending is None or ending.error is None):
        return RunStart(task_id=task_id, run_id=run_id, fence=fence, container_id=run_id.hex)
    if ending is not None:
        finish = RunFinish(task_id=task_id, run_id=run_id, fence=fence)
        if ending.error is not None:
            return finish.model_copy(update={"error": RunError(code=ending.error)})
        log = _log(ending) if ending.exit_code is not None else None
        told = {
            "exit_code": ending.exit_code,
            "result": ending.result,
            "artifacts": ending.artifacts or None,
            "log": log,
        }
        return finish.model_copy(update=told)
    if isinstance(state, Cancelling):
        return RunFinish(task_id=task_id, run_id=run_id, fence=fence, exit_code=143, signal="TERM")
    return None
