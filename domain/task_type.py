"""Registered task types: a name for a container, for what its input may be, and for how its runs are retried. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeAlias
from uuid import UUID

from domain import events as e
from domain.caching import check_image
from domain.commands import ChangeTaskType, PutTaskType
from domain.errors import BadTemplate, NotFound, Rejected, TaskTypeTaken, UnknownTaskType
from domain.filling import Work, fill, names_read
from domain.ids import derived_id
from domain.input_schema import Effort, check_input, check_schema, defaults
from domain.messages import Json, compact
from domain.placing import Requires
from domain.specs import Container, ForEach, Job, TaskSpec, Timeouts
from domain.templates import OPEN
from domain.type_specs import Definition

_NO_MORE = {"type": "object", "additionalProperties": False}
_SLEEP = {
    **_NO_MORE,
    "properties": {
        "seconds": {"type": "number", "minimum": 0, "maximum": 86_400},
        "message": {"type": "string", "default": ""},
    },
    "required": ["seconds"],
}
_SHELL = {**_NO_MORE, "properties": {"command": {"type": "string", "minLength": 1}}, "required": ["command"]}
_BUILT_IN: Mapping[str, tuple[tuple[str, ...], dict[str, Json]]] = {
    "sleep": (
        ("sh", "-c", 'sleep "$1" && echo "$2"', "sleep", "{{input.seconds}}", "{{input.message}}"),
        _SLEEP,
    ),
    "shell": (("sh", "-c", "{{input.command}}"), _SHELL),
}
BUILT_IN = frozenset(_BUILT_IN)
ANY_IMAGE = f"sha256:{0:064}"
"""Stands for the image of the built-in types where it is not known."""


@dataclass(frozen=True, slots=True)
class TaskType:
    """As it was put last, for the `number`th time; removed since if `definition` is None."""

    id: UUID
    version: int
    number: int
    definition: Definition | None


@dataclass(frozen=True, slots=True)
class Put:
    """What is to hold from now on."""

    task_type: str
    definition: Definition
    by: str


@dataclass(frozen=True, slots=True)
class Remove:
    """No new task is to have this type."""

    task_type: str
    by: str


Decision: TypeAlias = Put | Remove


@dataclass(frozen=True, slots=True)
class Typed:
    """A task with what its type adds: its container, the number of the type's version; the schema that its input must
    still fit when its templates are filled."""

    spec: TaskSpec
    container: Container | None = None
    number: int | None = None
    schema: dict[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Types:
    """What a submission may name. `base_image`: of the built-in types. `put`: those of its namespace that it needs;
    None: any name may be one. `kept`: by stream, new tasks of old ones, which keep the version of these. `effort`: what
    there is left of to check their inputs, if that is bounded."""

    base_image: str
    put: Mapping[str, TaskType] | None = field(default_factory=dict[str, TaskType])
    kept: Mapping[UUID, Typed] = field(default_factory=dict[UUID, Typed])
    effort: Effort | None = None

    def of(self, spec: TaskSpec, stream: UUID) -> Typed:
        """The task with what its type adds. Raises as `typed`."""
        return replace(self.kept[stream], spec=spec) if stream in self.kept else typed(spec, self)


def type_of(spec: TaskSpec) -> str | None:
    """The task type that it, or each of its children, has."""
    return spec.task_type if spec.for_each is None else spec.for_each.task.task_type


def asked(command: ChangeTaskType, by: str) -> Decision:
    """What a command asks of its task type."""
    if isinstance(command, PutTaskType):
        return Put(command.task_type, command.definition(), by)
    return Remove(command.task_type, by)


def kept(submitted: e.TaskSubmitted, spec: TaskSpec) -> Typed:
    """`spec`, which is of a task that was submitted before, with the type as it was for that one."""
    return Typed(spec, submitted.container, submitted.task_type_version, submitted.input_schema)


def type_stream(namespace: str, name: str) -> UUID:
    """The stream of a task type: derived, so that every change finds it."""
    return derived_id(UUID(int=0), f"task-type:{namespace}/{name}")


def registered(specs: Iterable[TaskSpec]) -> set[str]:
    """The types that these tasks name and that have to be looked up."""
    return {name for spec in specs if (name := type_of(spec)) is not None} - BUILT_IN


def decide(state: TaskType | None, command: Decision) -> list[e.TaskTypeChanged | e.TaskTypeRemoved]:
    """The change; none when it is already so. Raises TaskTypeTaken, BadSchema, BadTemplate, CacheNeedsDigest,
    NotFound."""
    name = command.task_type
    if name in BUILT_IN:
        raise TaskTypeTaken(f"task_type: {name} is built in and stays as it is; choose another name")
    if isinstance(command, Remove):
        if state is None:
            raise NotFound(f"task_type: no task type {name} in this namespace; `tally type ls` shows those there are")
        return [e.TaskTypeRemoved(task_type=name, number=state.number, by=command.by)] if state.definition else []
    if state is not None and state.definition == command.definition:
        return []
    _check(command.definition)
    number = state.number + 1 if state else 1
    return [e.TaskTypeChanged(task_type=name, number=number, definition=command.definition, by=command.by)]


def evolve(state: TaskType | None, id: UUID, event: e.Event) -> TaskType:
    """The state after `event`, the next of the stream `id`. Each event says all."""
    version = state.version + 1 if state else 1
    match event:
        case e.TaskTypeChanged(number=number, definition=definition):
            return TaskType(id, version, number, definition)
        case e.TaskTypeRemoved(number=number):
            return TaskType(id, version, number, None)
        case _:
            raise ValueError(f"stream {id}: {event.TYPE} cannot follow here")


def typed(spec: TaskSpec, types: Types) -> Typed:
    """The task with what its type adds; with `for_each`, what that of its children does. Raises UnknownTaskType,
    BadInput, Unfilled, BadTemplate, TooLarge."""
    if spec.for_each is not None:
        return _typed_children(spec, spec.for_each, types)
    name = spec.task_type
    if name is None:
        return Typed(spec)
    if name in BUILT_IN:
        return _typed(spec, _built_in(name, types.base_image), None, types.effort)
    found = types.put.get(name) if types.put is not None else None
    if found is not None and found.definition is not None:
        return _typed(spec, found.definition, found.number, types.effort)
    if types.put is None:
        return Typed(spec)
    raise UnknownTaskType(
        f"task_type: {name} is not registered in this namespace; built in: {', '.join(sorted(BUILT_IN))}; "
        "`tally type ls` shows the others, `tally type put` registers one"
    )


def check_filled(submitted: e.TaskSubmitted, filled: Work, job: Job | None = None) -> None:
    """Raises BadInput when what its templates became does not fit its type. `job`: its children's."""
    if submitted.input_schema is not None:
        check_input(submitted.input_schema, filled.input or {}, (job or submitted.spec).task_type or "")


def _typed_children(spec: TaskSpec, for_each: ForEach, types: Types) -> Typed:
    job = for_each.task
    try:
        one = typed(TaskSpec.model_construct(**{name: getattr(job, name) for name in Job.model_fields}), types)
    except Rejected as rejected:
        raise type(rejected)(f"for_each.task.{rejected.detail}", rejected.errors) from None
    job = Job.model_construct(**{name: getattr(one.spec, name) for name in Job.model_fields})
    whole = spec.model_copy(update={"for_each": for_each.model_copy(update={"task": job})})
    return replace(one, spec=whole)


@lru_cache(maxsize=16)
def _built_in(name: str, base_image: str) -> Definition:
    command, schema = _BUILT_IN[name]
    return Definition(image=base_image, command=command, input_schema=schema)


def _check(definition: Definition) -> None:
    if definition.cache is not None:
        check_image(definition.container, "image")
    if definition.input_schema is not None:
        check_schema(definition.input_schema)
    fallback = definition.retry.fallback if definition.retry else None
    if names := names_read(Work(container=definition.container, fallback=fallback)):
        raise BadTemplate(
            f"a template of the type reads task {names[0]}; let it read input.FIELD, which tasks then fill"
        )


def _typed(spec: TaskSpec, definition: Definition, number: int | None, effort: Effort | None) -> Typed:
    schema, given, container = definition.input_schema, spec.input, definition.container
    if schema is not None:
        given = {**defaults(schema), **(spec.input or {})}
        check_input(schema, given, spec.task_type or "", filled=not _templated(given), effort=effort)
    spec = _with_defaults(spec, definition, given)
    if _templated(given):
        return Typed(spec, container, number, schema)
    filled = fill(Work(container=container, input=given), {}).container
    plain = filled is not None and not any(OPEN in text for text in (*(filled.command or ()), *filled.env.values()))
    return Typed(spec, filled if plain else container, number)


def _templated(given: dict[str, Json] | None) -> bool:
    return given is not None and OPEN in compact(given)


def _with_defaults(spec: TaskSpec, definition: Definition, given: dict[str, Json] | None) -> TaskSpec:
    """What the task leaves at the platform's own default is as its type says."""
    own: dict[str, object] = {"input": given}
    for name in ("retry", "concurrency", "cache"):
        if getattr(spec, name) is None:
            own[name] = getattr(definition, name)
    for name, plain in (("timeouts", Timeouts()), ("requires", Requires())):
        mine, its = getattr(spec, name), getattr(definition, name)
        if its is not None:
            left = {one for one in type(plain).model_fields if getattr(mine, one) == getattr(plain, one)}
            own[name] = mine.model_copy(update={one: getattr(its, one) for one in left})
    return spec.model_copy(update=own)
