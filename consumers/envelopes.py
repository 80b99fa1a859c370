"""What travels around a message's data: headers, properties, CloudEvents attributes in each of their spellings."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar, cast
from uuid import UUID

from consumers.strict_json import strict_object
from domain.errors import Unreadable
from domain.ports.broker import Delivery

STRUCTURED = "application/cloudevents+json"
MAX_HEADERS, MAX_NESTING = 256, 4
Attributes: TypeAlias = dict[str, list[object]]
_Nested: TypeAlias = dict[str, object] | list[object]
T = TypeVar("T")

_PREFIXES = ("ce-", "cloudEvents_", "cloudEvents:")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_headers(headers: Mapping[str, object]) -> None:
    """Raises Unreadable headers: too many, too deep, or such that the broker's client could not decode them."""
    seen, nested = 0, [cast("_Nested", headers)]
    for _ in range(MAX_NESTING):
        deeper: list[_Nested] = []
        for table in nested:
            if isinstance(table, dict) and (not all(table) or max(map(len, table), default=0) > 128):
                raise Unreadable("headers", "a header has no name, a very long one, or could not be decoded")
            values = table.values() if isinstance(table, dict) else table
            seen += len(values)
            deeper += [cast("_Nested", value) for value in values if isinstance(value, dict | list)]
        if seen > MAX_HEADERS:
            raise Unreadable("headers", f"more than {MAX_HEADERS} headers; send only what is needed")
        if not deeper:
            return
        nested = deeper
    raise Unreadable("headers", f"headers nest deeper than {MAX_NESTING} levels; flatten them")


def is_structured(delivery: Delivery) -> bool:
    """Whether the body is the envelope too. Raises Unreadable content-type, content-encoding."""
    if delivery.content_type == "application/json" and delivery.content_encoding == "utf-8":
        return False
    kind, _, parameters = (delivery.content_type or "").partition(";")
    kind, charset = kind.strip().lower(), parameters.replace(" ", "").lower()
    if kind not in ("application/json", STRUCTURED) or charset not in ("", "charset=utf-8"):
        said = f"{delivery.content_type!r:.80}" if delivery.content_type else "none"
        raise Unreadable("content-type", f"content type is {said}; send application/json or {STRUCTURED}")
    if (delivery.content_encoding or "utf-8").lower() not in ("utf-8", "utf8", "identity"):
        raise Unreadable("content-encoding", f"{delivery.content_encoding!r:.80}; send the body uncompressed as utf-8")
    return kind == STRUCTURED


def attributes_of(headers: Mapping[str, object]) -> Attributes:
    """The CloudEvents attributes among the headers, by bare name."""
    found: Attributes = {}
    for name, value in headers.items():
        if name.startswith(_PREFIXES):
            bare = name[3:] if name.startswith("ce-") else name[len("cloudEvents_") :]
            found.setdefault(bare.lower(), []).append(value)
    return found


def open_envelope(body: bytes, attributes: Attributes) -> bytes:
    """The data in a structured CloudEvent, as JSON; its attributes join `attributes`. Raises Unreadable."""
    envelope = strict_object(body)
    data = envelope.pop("data", None)
    if not isinstance(data, dict):
        raise Unreadable("not-object", "the envelope's data is missing or no object; send the message's fields there")
    for name, value in envelope.items():
        attributes.setdefault(name.lower(), []).append(value)
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def agreed(name: str, given: Sequence[object], parse: Callable[[object], T]) -> T:
    """The one value that all places where it was given agree on. Raises Unreadable bad-id, or `<name>-mismatch`."""
    if len(given) == 2 and given[0] == given[1]:
        given = given[:1]
    values = {parse(value) for value in given if value is not None}
    if not values:
        where = f"property {_PROPERTY[name]}, header ce-{name} or the envelope's {name}"
        raise Unreadable("bad-id", f"no {name}; set {where}")
    if len(values) > 1:
        both = " and ".join(sorted(f"{value!s:.80}" for value in values))
        raise Unreadable(f"{name}-mismatch", f"{name} is given as {both}; property, header and envelope must agree")
    return values.pop()


_PROPERTY = {"id": "message_id", "type": "type"}


def uuid_of(value: object) -> UUID:
    """Any UUID but nil, with or without hyphens. Raises Unreadable bad-id."""
    if isinstance(value, str) and len(value) in (32, 36):
        try:
            found = UUID(value)
        except ValueError:
            found = UUID(int=0)
        if found.int:
            return found
    raise Unreadable("bad-id", f"{value!r:.80} is not a UUID, or the nil one; send a fresh one for each command")


def type_of(value: object) -> str:
    """Raises Unreadable bad-char for what is no printable text."""
    if not isinstance(value, str) or not value or _CONTROL.search(value):
        raise Unreadable("bad-char", f"type {value!r:.80}: printable text is needed")
    return value


def optional(name: str, values: Sequence[object]) -> str | None:
    """The first that is text, None if there is none. Raises Unreadable bad-char for control characters."""
    value = next((value for value in values if isinstance(value, str) and value), None)
    if value is not None and (_CONTROL.search(value) or len(value.encode()) > 255):
        raise Unreadable("bad-char", f"{name}: at most 255 bytes of UTF-8, none of them a control character")
    return value


def trace_of(headers: Mapping[str, object], attributes: Attributes) -> tuple[str | None, str | None]:
    """The W3C trace context the sender gave; (None, None) unless its traceparent is well-formed."""
    given = [headers.get("traceparent"), *attributes.get("traceparent", ())]
    parent = next((value for value in given if isinstance(value, str) and _TRACEPARENT.fullmatch(value)), None)
    if parent is None:
        return None, None
    states = [headers.get("tracestate"), *attributes.get("tracestate", ())]
    return parent, next((v for v in states if isinstance(v, str) and _TRACESTATE.fullmatch(v)), None)
