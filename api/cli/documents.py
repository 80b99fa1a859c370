"""Files that describe what to submit: TOML, YAML or JSON, as the message's data."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from api.cli.exits import FAILED, NOT_FOUND, REFUSED, Exit, fields
from domain.commands import COMMANDS, SubmitTask, SubmitTasks, SubmitWorkflow
from domain.messages import Json

Submission = SubmitTask | SubmitTasks | SubmitWorkflow
TYPES = {cls.TYPE: cls for cls in (SubmitTask, SubmitTasks, SubmitWorkflow)}


def command_of(file: str, namespace: str | None) -> Submission:
    """What a file submits: a task; with `tasks` a workflow, or what its `type` says. Raises Exit.

    `namespace` is for a file that names none; a file that names another is refused.
    """
    data = _read(file)
    kind = data.pop("type", SubmitWorkflow.TYPE if "tasks" in data else SubmitTask.TYPE)
    if kind not in TYPES:
        raise Exit(
            REFUSED, f"{file}: type: {kind} submits nothing; one of {', '.join(sorted(set(TYPES) & set(COMMANDS)))}"
        )
    if namespace is not None and data.setdefault("namespace", namespace) != namespace:
        raise Exit(REFUSED, f"{file}: namespace: {data['namespace']} in the file, {namespace} asked for; leave one out")
    try:
        return TYPES[kind].model_validate_json(json.dumps(data), strict=True)
    except ValidationError as invalid:
        raise Exit(REFUSED, f"{file} is no {kind}:{fields(invalid)}") from None


def _read(file: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except FileNotFoundError:
        raise Exit(NOT_FOUND, f"{file}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Exit(FAILED, f"{file}: {error}") from None
    try:
        data = _parsed(Path(file).suffix, text)
    except ValueError as error:
        raise Exit(REFUSED, f"{file}: cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise Exit(REFUSED, f"{file}: an object is needed, with the fields of {SubmitTask.TYPE}")
    return cast("dict[str, Any]", data)


def _parsed(suffix: str, text: str) -> Json:
    if suffix == ".toml":
        return tomllib.loads(text)
    if suffix == ".json":
        return json.loads(text)
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
