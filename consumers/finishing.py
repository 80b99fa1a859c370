"""How the end of a run is told: raw from the container, or as the reason why there was none. No input or output."""

import json
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from consumers.holdings import Held
from consumers.strict_json import MAX_DEPTH, strict_object
from domain.errors import CannotRun, Unreadable
from domain.messages import Json
from domain.misfits import misfits
from domain.ports.running import Found, Left
from domain.reports import MOST_ARTIFACTS, Artifact, LogEnd, RunError, RunFinish
from domain.retrying import LOST

_DEEPEST = 5
"""Objects and lists around a result in the message that carries it."""
_TOO_DEEP = f"it nests deeper than {MAX_DEPTH - _DEEPEST} levels; flatten it"

_ARTIFACTS = TypeAdapter(Annotated[tuple[Artifact, ...], Field(max_length=MOST_ARTIFACTS)])


def ended(held: Held, found: Found | None, log: LogEnd | None) -> RunFinish:
    """A container was started, and is as `found` now. Not exited, or gone: then what became of it is not known.

    One that was ended because the lease was gone is lost: its exit code says nothing of the task.
    """
    exited = found is not None and found.state == "exited"
    lost = held.unleased and held.signal is not None
    return RunFinish(
        task_id=held.task,
        run_id=held.run,
        fence=held.fence,
        container_id=held.container,
        image_digest=held.image,
        exit_code=found.exit_code if found is not None else None,
        oom_killed=found is not None and found.oom_killed,
        signal=held.signal,
        gone=exited or found is None,
        error=RunError(code=LOST, detail="its lease was gone, so it was ended") if lost else None,
        log=log,
        traceparent=held.cause.traceparent if held.cause else None,
    )


def never_started(held: Held, code: str, detail: str) -> RunFinish:
    """No container of the run was started."""
    return RunFinish(
        task_id=held.task,
        run_id=held.run,
        fence=held.fence,
        error=RunError(code=code, detail=detail[:1024]),
        traceparent=held.cause.traceparent if held.cause else None,
    )


def gone_wrong(held: Held, error: Exception) -> RunFinish:
    """A defect of this worker's: its container may run on."""
    started = held.container if held.state == "running" else None
    told = never_started(held, "worker-error", type(error).__name__)
    return told.model_copy(update={"container_id": started, "gone": started is None})


def read_result(data: bytes | None) -> Json:
    """The JSON that a result file holds; None for no file, or an empty one. Raises CannotRun result-invalid."""
    return _read(data, "result")


def read_artifacts(data: bytes | None) -> tuple[Artifact, ...] | None:
    """The artifacts that a file lists; None for no file, or an empty one. Raises CannotRun artifacts-invalid."""
    if data is None or _read(data, "artifacts") is None:
        return None
    try:
        found = _ARTIFACTS.validate_json(data, strict=True)
    except ValidationError as error:
        _, [first, *_] = misfits(error)
        raise _invalid("artifacts", f"{first['field']}: {first['problem']}") from error
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise _invalid("artifacts", "two have the same name; give each its own")
    return found or None


def _read(data: bytes | None, what: Left) -> Json:
    if not data or not data.strip():
        return None
    try:
        value: Any = json.loads(data)
        strict_object(b'{"r":' * _DEEPEST + data + b"}" * _DEEPEST)
    except RecursionError as error:
        raise _invalid(what, _TOO_DEEP) from error
    except UnicodeDecodeError as error:
        raise _invalid(what, f"byte {error.start} is not UTF-8; write UTF-8") from error
    except ValueError as error:
        raise _invalid(what, f"not JSON ({error})") from error
    except Unreadable as unreadable:
        why = _TOO_DEEP if unreadable.reason == "too-deep" else unreadable.detail
        raise _invalid(what, why) from unreadable
    return value


def _invalid(what: Left, why: str) -> CannotRun:
    return CannotRun(f"{what}-invalid", f"{what}: {why}"[:300])
