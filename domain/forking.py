"""A new task of an old one: from a point of its history, with changes. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from pydantic import ValidationError

from domain import events as e
from domain.errors import BadTemplate, BadVersion, SchemaMismatch, TaskIdTaken, TooLarge, UnknownField
from domain.filling import filled_in, names_read, work_of
from domain.messages import Json
from domain.misfits import misfits
from domain.specs import TaskSpec

MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Fork:
    """What is asked for. `version`: of the old task's history, None: its newest. `name`: the new one's, if any."""

    version: int | None = None
    name: str | None = None
    changes: Mapping[str, Json] = field(default_factory=dict[str, Json])


def forked(history: Sequence[e.Event], fork: Fork, now: datetime) -> tuple[TaskSpec, int]:
    """The new task, and the version it is made at: the old one's submission, with its priority then, and the changes.

    A time that has passed is left out unless the changes give it. `history`: all events of the old task.
    Raises BadVersion, TaskIdTaken, UnknownField, SchemaMismatch, TooLarge.
    """
    submitted, head = history[0], len(history)
    assert isinstance(submitted, e.TaskSubmitted), "a task begins with its submission"
    version = head if fork.version is None else fork.version
    if version > head:
        raise BadVersion(
            f"from_version: {version} is beyond the history of {submitted.task_id}, which ends at version {head}"
        )
    if fork.name == submitted.task_id:
        raise TaskIdTaken(f"new_task_id: {fork.name} is the task that is forked; choose another id, or leave it out")
    if "task_id" in fork.changes:
        raise SchemaMismatch("changes.task_id: the new task is named by new_task_id; leave it out of changes")
    spec = submitted.spec
    if submitted.filled is not None and _reads_nobody_now(submitted, fork):
        spec = filled_in(spec, submitted.filled)
    then = spec.model_copy(update={"task_id": fork.name, "priority": _priority(submitted, history[:version])})
    return _changed(without_past(then, now), fork.changes), version


def without_past(spec: TaskSpec, now: datetime) -> TaskSpec:
    """`spec` without the times that have passed."""
    given = {"not_before": spec.not_before, "expires_at": spec.expires_at}
    return spec.model_copy(update={name: None for name, at in given.items() if at is not None and at <= now})


def merged(target: Json, patch: Json) -> Json:
    """JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(cast("dict[str, Json]", target)) if isinstance(target, dict) else {}
    for name, value in cast("dict[str, Json]", patch).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _reads_nobody_now(submitted: e.TaskSubmitted, fork: Fork) -> bool:
    """Whether its templates are about an item, or about tasks that neither it nor the fork depends on: it was filled
    for the task whose child, or retry, it is."""
    if submitted.child_of is not None:
        return True
    try:
        read = names_read(work_of(submitted.spec, submitted.container))
    except BadTemplate:  # of an item: it does a child once more
        return True
    return bool(read) and not fork.changes.get("depends_on", submitted.spec.depends_on)


def _priority(submitted: e.TaskSubmitted, history: Sequence[e.Event]) -> int:
    changes = [event.priority for event in history if isinstance(event, e.TaskPriorityChanged)]
    return changes[-1] if changes else submitted.spec.priority


def _changed(spec: TaskSpec, changes: Mapping[str, Json]) -> TaskSpec:
    whole = merged(spec.model_dump(mode="json", exclude_none=True), dict(changes))
    text = json.dumps(whole, ensure_ascii=False).encode()
    if len(text) > MOST_BYTES:
        raise TooLarge(f"changes: the task with them has {len(text)} bytes; at most {MOST_BYTES}")
    try:
        return TaskSpec.model_validate_json(text, strict=True)
    except ValidationError as error:
        strange, errors = misfits(error, within="changes")
        first = errors[0]
        if strange:
            raise UnknownField(f"{first['field']}: a task has no such field; remove it", errors) from None
        raise SchemaMismatch(
            f"{first['field']}: {first['problem']}; null leaves a field out, see /v1/schemas/task.submit.v1", errors
        ) from None
