"""Files that describe what to submit: TOML, YAML or JSON, as the message's data."""

import json
import sys
import tomllib
from collections.abc import Iterable
from datetime import date, time
from math import isfinite
from pathlib import Path
from typing import Any, cast

from api.cli.exits import FAILED, NOT_FOUND, REFUSED, USAGE, Exit, well_formed
from domain.commands import PutSchedule, SubmitTask, SubmitTasks, SubmitWorkflow
from domain.messages import Json

Submission = SubmitTask | SubmitTasks | SubmitWorkflow
TYPES = {cls.TYPE: cls for cls in (SubmitTask, SubmitTasks, SubmitWorkflow)}
STDIN = "-"


def command_of(file: str, namespace: str | None) -> Submission:
    """What a file submits: a task; with `tasks` a workflow, or what its `type` says. Raises Exit.

    `namespace` is for a file that names none; a file that names another is refused.
    """
    data = _read(file)
    kind = data.pop("type", SubmitWorkflow.TYPE if "tasks" in data else SubmitTask.TYPE)
    cls = TYPES.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise Exit(REFUSED, f"{file}: type: {kind} submits nothing; one of {', '.join(sorted(TYPES))}")
    _set_namespace(data, file, namespace)
    with well_formed(f"{file} is no {kind}"):
        return cls.model_validate_json(json.dumps(data), strict=True)


def check(command: Submission) -> None:
    """Raises Refused for what the platform would refuse, whatever was submitted before."""
    from domain.errors import Refused, Rejected
    from domain.submitting import check

    try:
        check(command)
    except Rejected as rejected:
        raise Refused(rejected.problem()) from None


def schedule_in(file: str, namespace: str | None) -> PutSchedule:
    """The schedule that a file describes; of `namespace` as above. Raises Exit."""
    data = _read(file)
    _set_namespace(data, file, namespace)
    with well_formed(f"{file} is no {PutSchedule.TYPE}"):
        return PutSchedule.model_validate_json(json.dumps(data), strict=True)


def _set_namespace(data: dict[str, Any], file: str, namespace: str | None) -> None:
    if namespace is not None and data.setdefault("namespace", namespace) != namespace:
        raise Exit(REFUSED, f"{file}: namespace: {data['namespace']} in the file, {namespace} asked for; leave one out")


def _read(file: str) -> dict[str, Any]:
    if file.startswith("-") and file != STDIN:
        raise Exit(USAGE, f"{file}: no such option; a file of that name is ./{file}")
    try:
        data = _plain(_parsed(Path(file).suffix, _bytes(file).decode("utf-8-sig")))
    except RecursionError:
        raise Exit(REFUSED, f"{file}: cannot be read: it holds itself, or is nested too deeply") from None
    except ValueError as error:
        raise Exit(REFUSED, f"{file}: cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise Exit(REFUSED, f"{file}: an object is needed, with the fields of {SubmitTask.TYPE}")
    return cast("dict[str, Any]", data)


def _bytes(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    except FileNotFoundError:
        raise Exit(NOT_FOUND, f"{file}: no such file") from None
    except OSError as error:
        raise Exit(FAILED, f"{file}: {error.strerror}") from None


def _parsed(suffix: str, text: str) -> Any:
    """Raises ValueError, RecursionError."""
    if suffix == ".toml":
        return tomllib.loads(text)
    if suffix == ".json":
        return json.loads(text, object_pairs_hook=_once)
    import yaml

    from api.cli.yaml_loader import Loader

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name}: given twice")
        found[name] = value
    return found


def _plain(value: Any, path: str = "") -> Json:
    """`value` as JSON has it, dates as text. Raises ValueError with the place of what JSON has not."""
    match value:
        case dict():
            named = cast("dict[str, Any]", value).items()
            return {str(name): _plain(one, f"{path}{name}.") for name, one in named}
        case list():
            return [_plain(one, f"{path}{at}.") for at, one in enumerate(cast("list[object]", value))]
        case date() | time():
            return value.isoformat()
        case None | bool() | int() | str():
            return value
        case float() if isfinite(value):
            return value
        case _:
            raise ValueError(f"{path.removesuffix('.') or 'the whole'}: no message holds {value!r:.40}")
