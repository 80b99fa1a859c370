"""Files that describe what to submit: TOML, YAML or JSON, as the message's data."""

import json
import sys
import tomllib
from collections.abc import Iterable, Sequence
from datetime import date, time
from math import isfinite
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from api.cli.exits import FAILED, NOT_FOUND, REFUSED, USAGE, Exit, well_formed
from api.splitting import messages
from domain.commands import MOST_AT_ONCE, PutSchedule, PutTaskType, SubmitTask, SubmitTasks, SubmitWorkflow
from domain.errors import Rejected
from domain.messages import Json
from domain.specs import TaskSpec

Submission = SubmitTask | SubmitTasks | SubmitWorkflow
TYPES = {cls.TYPE: cls for cls in (SubmitTask, SubmitTasks, SubmitWorkflow)}
STDIN = "-"


def commands_of(file: str, namespace: str | None) -> list[Submission]:
    """What a file submits: a task; with `tasks` a workflow, or what its `type` says. Raises Exit.

    Several messages: the parts of a large workflow, in their order. `namespace` is for a file that names none; a file
    that names another is refused.
    """
    data = _read(file)
    kind = data.pop("type", SubmitWorkflow.TYPE if "tasks" in data else SubmitTask.TYPE)
    cls = TYPES.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise Exit(REFUSED, f"{file}: type: {kind} submits nothing; one of {', '.join(sorted(TYPES))}")
    _set_namespace(data, file, namespace)
    tasks = data.get("tasks")
    with well_formed(f"{file} is no {kind}"):
        if cls is SubmitWorkflow and isinstance(tasks, list) and len(cast("list[object]", tasks)) > MOST_AT_ONCE:
            return [*_parts(data, cast("list[object]", tasks))]
        return [cls.model_validate_json(json.dumps(data), strict=True)]


def _parts(data: dict[str, Any], tasks: list[object]) -> list[SubmitWorkflow]:
    """A workflow that is too large for one message. Raises ValidationError, Exit."""
    first = SubmitWorkflow.model_validate_json(json.dumps({**data, "tasks": tasks[:1]}), strict=True)
    specs = TypeAdapter(list[TaskSpec]).validate_json(json.dumps(tasks), strict=True)
    if first.workflow_id is None or first.more:
        raise Exit(REFUSED, f"more than {MOST_AT_ONCE} tasks are sent in several messages; give a workflow_id, no more")
    try:
        return messages(first.workflow_id, first.namespace, specs, first.on_failure, first.max_parallel)
    except Rejected as rejected:
        raise Exit(REFUSED, f"{rejected.code}: {rejected.detail}") from None


def task_type_of(file: str, namespace: str) -> PutTaskType:
    """The task type that a file describes. Raises Exit.

    `namespace`: of this client; a file that names another is refused.
    """
    data = _read(file)
    if data.setdefault("namespace", namespace) != namespace:
        raise Exit(REFUSED, f"{file}: namespace: {data['namespace']} in the file, {namespace} asked for; leave one out")
    with well_formed(f"{file} is no {PutTaskType.TYPE}"):
        return PutTaskType.model_validate_json(json.dumps(data), strict=True)


def check(commands: Sequence[Submission]) -> None:
    """Raises Refused for what the platform would refuse, whatever was submitted before. `commands`: of one file."""
    from domain.errors import Refused
    from domain.submitting import check

    earlier: set[str] = set()
    try:
        for command in commands:
            check(command, earlier)
            if isinstance(command, SubmitWorkflow):
                earlier |= {spec.task_id for spec in command.tasks if spec.task_id is not None}
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
        raise Exit(REFUSED, f"{file}: an object is needed, with the fields of a message")
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
