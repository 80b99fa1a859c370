"""What every message shares: frozen, strict, with a stable type name that is not part of its body."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar, cast
from unicodedata import is_normalized
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Int = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
Ref = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}(\[(0|[1-9][0-9]{0,3})\])?$")]
"""A task that there is: by its name, or as the child of such a one."""
Namespace = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Text = Annotated[str, Field(max_length=1024)]
_UNSEEN = re.compile("[\u061c\u200b\u2028\u2029\u2060-\u206f\ufeff\U000e0000-\U000e007f]")


def _as_it_looks(name: str) -> str:
    if not is_normalized("NFC", name):
        raise ValueError("it is written in parts that look like other characters; give it in Unicode's form NFC")
    if unseen := _UNSEEN.search(name):
        raise ValueError(f"it holds U+{ord(unseen.group()):04X}, which nobody sees; leave that out")
    return name


DisplayName = Annotated[
    str,
    Field(pattern=r"^[^\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]{1,128}$"),
    AfterValidator(_as_it_looks),
]
"""What people read: nothing in it moves a terminal, turns the direction, or looks like something else."""


class Value(BaseModel):
    """A part of a message: frozen, and closed to fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_timedelta="iso8601", hide_input_in_errors=True)


class Message(Value):
    """The data of a command, report, work message, event or reply. `TYPE` names it on every wire and in the log."""

    TYPE: ClassVar[str]

    def body(self) -> bytes:
        """UTF-8 JSON without absent fields: the AMQP body and the stored state, byte for byte."""
        return self.model_dump_json(exclude_none=True).encode()


M = TypeVar("M", bound=Message)


def by_type(classes: Iterable[type[M]]) -> dict[str, type[M]]:
    """Index message classes by `TYPE`; two classes of one type are a defect."""
    index: dict[str, type[M]] = {}
    for cls in classes:
        if cls.TYPE in index:
            raise ValueError(f"{cls.TYPE} names both {index[cls.TYPE].__name__} and {cls.__name__}")
        index[cls.TYPE] = cls
    return index


_TAG = re.compile(r"<task>|<set>|run\.[a-z]+\.v[0-9]+")
"""What pydantic puts between the place in a list and the fields of one kind: of needs, of reports."""
_ITEMS = ("<template>", "<count>", "<list>")
"""What it puts after `items`, which may be of these kinds."""


def field_path(location: tuple[int | str, ...]) -> str:
    """A place that pydantic names, as people write it: `tasks[1].pid`. The tags of unions are no part of it."""
    path = ""
    for before, part in zip(("", *location), location, strict=False):
        if isinstance(part, int):
            path += f"[{part}]"
        elif before == "items" and part in _ITEMS:
            continue
        elif isinstance(before, str) or not _TAG.fullmatch(part):
            path += f".{part:.80}"
    return path.lstrip(".") or "body"


def routing_key(type: str, namespace: str) -> str:
    """Where a command of this type goes: `<noun>.<verb>.<namespace>`."""
    return f"{type.rpartition('.v')[0]}.{namespace}"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an event is recorded: carried from the command through every event that follows from it.

    `correlation_id` is the chain's id, `causation_id` the id of the command or event directly before,
    `actor` the verified principal or the part of the platform that decided, `traceparent` and `tracestate`
    the W3C trace context that what follows continues (None: not traced).
    """

    correlation_id: str
    causation_id: str
    actor: str
    traceparent: str | None = None
    tracestate: str | None = None


Json = Any


def compact(value: Json) -> str:
    """JSON text without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def depth(value: Json) -> int:
    """How many objects and lists stand around the innermost value: 0 for one that is neither."""
    deepest = -1
    here: list[Json] = [value]
    while here:
        deepest += 1
        here = [inner for one in here for inner in _inside(one)]
    return deepest


def _inside(value: Json) -> Iterable[Json]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


def is_uuid(text: str) -> UUID | None:
    """The UUID that `text` spells in its canonical 36-character form, or None."""
    if len(text) != 36:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
