"""Templates: `{{tasks.extract.result.rows}}` in a text stands for a value that is known later. Pure.

    template = "{{" ( literal | source ) "}}"
    source   = "tasks" name "." ( "status" | "exit_code" )
             | "tasks" name ".result" { step }
             | "tasks" name ".artifacts" name "." ( "uri" | "sha256" | "bytes" )
             | "input" step { step }
             | "item" { step } | "index"
    name     = "." word | "[" literal "]"
    step     = "." word | "[" number "]" | "[" literal "]"

A word is of letters, digits and `_`; a literal is a JSON string, and stands for itself: `{{"{{"}}` is `{{`. What was
filled in is text or data, never a template again. `item` and `index` are for children of a task with `for_each`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from domain.errors import BadTemplate, TemplateMissingField, TemplateTooLarge
from domain.messages import Json, compact

OPEN, CLOSE = "{{", "}}"
TEXT_LIMIT = 64 << 10
"""Bytes that a text may have when it is filled."""
FACTS = ("uri", "sha256", "bytes")
"""What may be asked of an artifact."""

_WORD, _LITERAL = r"[A-Za-z0-9_]+", r'"(?:[^"\\\x00-\x1f]|\\.)*"'
_STEP = rf"\.{_WORD}|\[(?:[0-9]{{1,9}}|{_LITERAL})\]"
_TEMPLATE = re.compile(rf"\{{\{{ *(?:({_LITERAL})|({_WORD})((?:{_STEP})*)) *\}}\}}")
_STEPS = re.compile(rf"\.({_WORD})|\[([0-9]+)\]|\[({_LITERAL})\]")
_WAY_OUT = 'write tasks.NAME.result.FIELD, or {{"{{"}} for a plain {{'

Step: TypeAlias = str | int
Source: TypeAlias = Literal["result", "artifacts", "status", "exit_code", "input", "item", "index"]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a task that has ended. `artifacts`: name -> its facts."""

    status: str
    exit_code: int | None = None
    result: Json = None
    artifacts: Mapping[str, Mapping[str, Json]] | None = None


@dataclass(frozen=True, slots=True)
class Each:
    """What a child is for: an item, and its place among all."""

    index: int
    item: Json


@dataclass(frozen=True, slots=True)
class Values:
    """What templates are filled with: tasks that have ended, by name, the task's own input, and, of a child, its
    item."""

    tasks: Mapping[str, Known]
    input: Json = None
    each: Each | None = None


@dataclass(frozen=True, slots=True)
class Expression:
    """What one template asks for: `path` in a `source` of `task` (None: the task's own). `written`: as its user did."""

    written: str
    source: Source
    task: str | None
    path: tuple[Step, ...]

    def value(self, values: Values) -> Json:
        """Raises TemplateMissingField."""
        if self.task is None:
            return self._own(values)
        known = values.tasks.get(self.task)
        if known is None:
            raise self._missing(f"task {self.task} has not ended")
        match self.source:
            case "status":
                return known.status
            case "exit_code" if known.exit_code is None:
                raise self._missing(f"task {self.task} ended as {known.status}, without an exit code")
            case "exit_code":
                return known.exit_code
            case "artifacts":
                return self._artifact(known)
            case _ if known.result is None:
                raise self._missing(f"task {self.task} ended as {known.status}, without a result")
            case _:
                return self._walked(known.result, "result", self.path)

    def _artifact(self, known: Known) -> Json:
        name, fact = self.path
        left = (known.artifacts or {}).get(str(name))
        if left is None:
            raise self._missing(f"task {self.task} has left no artifact {json.dumps(name)}")
        return left[str(fact)]

    def _own(self, values: Values) -> Json:
        if self.source == "input":
            return self._walked(values.input, "input", self.path)
        assert values.each is not None, "only a child's templates ask for an item"
        each = values.each
        return each.index if self.source == "index" else self._walked(each.item, f"item {each.index}", self.path)

    def _walked(self, value: Json, place: str, path: Sequence[Step]) -> Json:
        for step in path:
            match value:
                case dict() if isinstance(step, str) and step in value:
                    value = cast("dict[str, Any]", value)[step]
                case list() if (n := _index(step)) is not None and n < len(items := cast("list[object]", value)):
                    value = items[n]
                case _:
                    raise self._missing(f"{place} is {_kind(value)} without {json.dumps(step)}")
            place += f"[{json.dumps(step)}]"
        return value

    def _missing(self, why: str) -> TemplateMissingField:
        return TemplateMissingField(f"{_shown(self.written)}: {why}"[:1000])


@dataclass(frozen=True, slots=True)
class Template:
    """A text with templates in it, parsed: texts and expressions in turn."""

    parts: tuple[str | Expression, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks that it reads, each once."""
        return tuple(dict.fromkeys(one.task for one in self._asked() if one.task is not None))

    def asking(self, *sources: Source) -> Expression | None:
        """The first expression of such a source, if there is one."""
        return next((one for one in self._asked() if one.source in sources), None)

    def check(self, tasks: Mapping[str, Known]) -> None:
        """Raises TemplateMissingField for what it asks of tasks that is not there."""
        for one in self._asked():
            if one.task is not None:
                one.value(Values(tasks))

    def value(self, values: Values) -> Json:
        """What it stands for; alone, an expression keeps its kind. Raises TemplateMissingField, TemplateTooLarge."""
        alone = self.parts[0] if len(self.parts) == 1 else ""
        return alone.value(values) if isinstance(alone, Expression) else self.text(values)

    def text(self, values: Values) -> str:
        """What it stands for, as text: what is not text as compact JSON. Raises as `value`."""
        pieces, size = list[str](), 0
        for part in self.parts:
            value = part.value(values) if isinstance(part, Expression) else part
            pieces.append(_as_text(value))
            size += len(pieces[-1].encode())
            if size > TEXT_LIMIT:
                raise TemplateTooLarge(f"more than {TEXT_LIMIT} bytes when it is filled; pass large data by reference")
        return "".join(pieces)

    def _asked(self) -> list[Expression]:
        return [part for part in self.parts if isinstance(part, Expression)]


def parse(text: str, field: str) -> Template:
    """The templates of `text`, which stands in `field`. Raises BadTemplate."""
    parts, at = list[str | Expression](), 0
    while (start := text.find(OPEN, at)) >= 0:
        found = _TEMPLATE.match(text, start)
        if found is None:
            raise BadTemplate(f"{field}: {_shown(text[start:])} is no template; {_WAY_OUT}")
        literal, root, steps = found.groups()
        read = _literal(literal, field) if literal is not None else _expression(found.group(), root, steps, field)
        parts += [part for part in (text[at:start], read) if part != ""]
        at = found.end()
    return Template((*parts, *([text[at:]] if at < len(text) else [])))


def renamed(text: str, names: Mapping[str, str]) -> str:
    """`text` whose templates ask the tasks that `names` says instead of those they name."""

    def put(found: re.Match[str]) -> str:
        _, root, steps = found.groups()
        first = _STEPS.match(steps or "")
        new = names.get(str(_step(first, "name"))) if root == "tasks" and first else None
        if new is None or first is None:
            return found.group()
        return f"{{{{tasks[{json.dumps(new)}]{steps[first.end() :]}}}}}"

    return _TEMPLATE.sub(put, text)


def _literal(literal: str, field: str) -> str:
    try:
        text = str(json.loads(literal))
        text.encode()
    except ValueError:
        raise BadTemplate(f"{field}: {_shown(literal)} is no JSON string; {_WAY_OUT}") from None
    if "\0" in text:
        raise BadTemplate(f"{field}: {_shown(literal)} holds the character U+0000; leave it out")
    return text


def _expression(written: str, root: str, steps: str, field: str) -> Expression:
    path = tuple(_step(one, field) for one in _STEPS.finditer(steps))
    match root, path:
        case "input", [_, *_]:
            return Expression(written, "input", None, tuple(path))
        case "item", _:
            return Expression(written, "item", None, path)
        case "index", []:
            return Expression(written, "index", None, path)
        case "tasks", [str(name), "status" | "exit_code" as fact]:
            return Expression(written, "status" if fact == "status" else "exit_code", name, ())
        case "tasks", [str(name), "result", *rest]:
            return Expression(written, "result", name, tuple(rest))
        case "tasks", [str(name), "artifacts", str(artifact), str(fact)] if fact in FACTS:
            return Expression(written, "artifacts", name, (artifact, fact))
        case _:
            raise BadTemplate(f"{field}: {_shown(written)} names nothing that can be filled in; {_WAY_OUT}")


def _step(found: re.Match[str], field: str) -> Step:
    word, number, literal = found.groups()
    return int(number) if number else word or _literal(literal, field)


def _index(step: Step) -> int | None:
    """The place in a list that a step may mean: no more digits than any list needs."""
    return int(step) if isinstance(step, int) or re.fullmatch("[0-9]{1,9}", step) else None


def _as_text(value: Json) -> str:
    """A whole number is written as one, whatever its JSON was: programs that take 5 may not take 5.0."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return str(int(value))
    return value if isinstance(value, str) else compact(value)


def _shown(text: str) -> str:
    end = text.find(CLOSE)
    return text[: min(end + len(CLOSE) if end >= 0 else len(text), 80)]


def _kind(value: Json) -> str:
    names = {"dict": "an object", "list": "a list", "str": "a text", "NoneType": "null", "bool": "a truth value"}
    return names.get(value.__class__.__name__, "a number")
