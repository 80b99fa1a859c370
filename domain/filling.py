"""What a task runs, and the templates in it: found when it is submitted, filled when it is freed. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar, cast

from domain.errors import BadTemplate, TemplateTooLarge, Unfilled
from domain.messages import Json, Value, compact, depth
from domain.retry_spec import Fallback
from domain.specs import INPUT_DEPTH, INPUT_LIMIT, Container, Job, TaskSpec
from domain.templates import OPEN, Each, Known, Values, parse, renamed

FILLED_LIMIT = 256 << 10
"""Bytes that all filled texts of a task may have together."""

J = TypeVar("J", bound=Job)
Put: TypeAlias = Callable[[str, str, bool], Json]
"""What stands for a text in a field: any JSON if the last is true, else text."""


class Work(Value):
    """What is given to a worker to run: a container, its input, and what stands in for it in the last run."""

    container: Container | None = None
    input: dict[str, Json] | None = None
    fallback: Fallback | None = None


def work_of(spec: Job, container: Container | None) -> Work:
    """What `spec` runs as it is written. `container`: that of its type, if it names none."""
    fallback = spec.retry.fallback if spec.retry else None
    return Work(container=container or spec.container, input=spec.input, fallback=fallback)


def names_read(work: Work, each: bool = False) -> tuple[str, ...] | None:
    """The tasks that its templates read, None if it has no templates. `each`: it is of children, which have items.
    Raises BadTemplate."""
    if not _has_templates(work):
        return None
    names = dict[str, None]()

    def look(text: str, field: str, whole: bool) -> str:
        if OPEN in text:
            template = parse(text, field)
            if whole and (own := template.asking("input")):
                raise BadTemplate(f"{field}: {own.written} stands in the input that it reads; write what is meant")
            if not each and (item := template.asking("item", "index")):
                raise BadTemplate(f"{field}: {item.written} is for the task of a for_each, and this is none")
            names.update(dict.fromkeys(template.tasks))
        return text

    _put_into(work.input, look, "input")
    _commands(work, look)
    return tuple(names)


def fill(work: Work, tasks: Mapping[str, Known], each: Each | None = None) -> Work:
    """`work` with values in place of its templates. Raises TemplateMissingField, TemplateTooLarge."""
    filler = _Filler(Values(tasks, each=each))
    with_input = work.model_copy(update={"input": _put_into(work.input, filler, "input")})
    _check_input(with_input.input)
    filler.values = Values(tasks, with_input.input, each)
    return with_input.model_copy(update=_commands(with_input, filler))


def check_read(work: Work, tasks: Mapping[str, Known]) -> None:
    """Raises TemplateMissingField when its templates ask of tasks what is not there."""

    def look(text: str, field: str, _whole: bool) -> str:
        if OPEN in text:
            try:
                parse(text, field).check(tasks)
            except Unfilled as unfilled:
                raise type(unfilled)(f"{field}: {unfilled.detail}") from None
        return text

    _put_into(work.input, look, "input")
    _commands(work, look)


def filled_in(spec: TaskSpec, filled: Work) -> TaskSpec:
    """The task with what its templates became in their place, as plain text."""

    def plain(text: str, _field: str, _whole: bool) -> str:
        return text.replace(OPEN, f'{{{{"{OPEN}"}}}}')

    commands = _commands(filled, plain)
    changes: dict[str, object] = {"input": _put_into(filled.input, plain, "input")}
    if spec.container is not None:
        changes["container"] = commands["container"]
    if spec.retry is not None:
        changes["retry"] = spec.retry.model_copy(update={"fallback": commands["fallback"]})
    return spec.model_copy(update=changes)


def reading_as(spec: TaskSpec, names: Mapping[str, str]) -> TaskSpec:
    """`spec` whose templates read the tasks that `names` says instead of those it names."""
    if spec.for_each is None:
        return _renamed(spec, names)
    items, task = spec.for_each.items, _renamed(spec.for_each.task, names)
    changes = {"items": renamed(items, names) if isinstance(items, str) else items, "task": task}
    return spec.model_copy(update={"for_each": spec.for_each.model_copy(update=changes)})


def _renamed(spec: J, names: Mapping[str, str]) -> J:
    work = work_of(spec, None)
    if not _has_templates(work):
        return spec

    def rename(text: str, _field: str, _whole: bool) -> str:
        return renamed(text, names)

    commands = _commands(work, rename)
    retry = spec.retry.model_copy(update={"fallback": commands["fallback"]}) if spec.retry else None
    given = _put_into(work.input, rename, "input")
    return spec.model_copy(update={"container": commands["container"], "input": given, "retry": retry})


class _Filler:
    def __init__(self, values: Values) -> None:
        self.values, self._room = values, FILLED_LIMIT

    def __call__(self, text: str, field: str, whole: bool) -> Json:
        if OPEN not in text:
            return text
        template = parse(text, field)
        try:
            value = template.value(self.values) if whole else template.text(self.values)
        except Unfilled as unfilled:
            raise type(unfilled)(f"{field}: {unfilled.detail}") from None
        self._room -= len(compact(value).encode())
        if self._room < 0:
            raise TemplateTooLarge(
                f"{field}: more than {FILLED_LIMIT} bytes are filled in; pass large data by reference"
            )
        return value


def _has_templates(work: Work) -> bool:
    """Looked at for every task there is: parses nothing."""
    container, fallback = work.container, work.fallback
    if container is not None:
        for text in (*(container.command or ()), *container.env.values()):
            if OPEN in text:
                return True
    if fallback is not None and any(OPEN in text for text in fallback.command or ()):
        return True
    return work.input is not None and OPEN in compact(work.input)


def _commands(work: Work, put: Put) -> dict[str, Container | Fallback | None]:
    container, fallback = work.container, work.fallback
    if container is not None:
        env = {name: put(text, f"container.env.{name}", False) for name, text in container.env.items()}
        container = container.model_copy(
            update={"command": _arguments(container.command, put, "container"), "env": env}
        )
    if fallback is not None:
        command = _arguments(fallback.command, put, "retry.fallback")
        fallback = fallback.model_copy(update={"command": command})
    return {"container": container, "fallback": fallback}


def _arguments(command: tuple[str, ...] | None, put: Put, field: str) -> tuple[Json, ...] | None:
    if command is None:
        return None
    return tuple(put(text, f"{field}.command[{n}]", False) for n, text in enumerate(command))


def _put_into(value: Json, put: Put, field: str) -> Json:
    match value:
        case str():
            return put(value, field, True)
        case dict():
            items = cast("dict[str, Any]", value).items()
            return {name: _put_into(one, put, f"{field}.{name:.80}") for name, one in items}
        case list():
            return [_put_into(one, put, f"{field}[{n}]") for n, one in enumerate(cast("list[object]", value))]
        case _:
            return value


def _check_input(given: dict[str, Json] | None) -> None:
    if given is None:
        return
    if len(compact(given).encode()) > INPUT_LIMIT:
        raise TemplateTooLarge(f"input: more than {INPUT_LIMIT} bytes when it is filled; pass large data by reference")
    if depth(given) > INPUT_DEPTH:
        raise TemplateTooLarge(f"input: nests deeper than {INPUT_DEPTH} levels when it is filled; name what is needed")
