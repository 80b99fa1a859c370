"""Delivered messages out of AMQP 0-9-1 frames.

Decoded by hand because they come thousands a second, and because what a stranger puts into a message must not end the
connection: text that is not UTF-8 comes with escapes, headers that cannot be read as one header named "".
"""

import struct
from dataclasses import dataclass
from typing import Any

from adapters.amqp_frames import CONTENT
from domain.ports.broker import Delivery

MAX_HEADERS, MAX_NESTING = 1000, 8

_LONG = struct.Struct(">I")
# One bit and one type for each property, in the order of the wire (AMQP 0-9-1, basic class).
_PROPERTIES = (
    (15, "content_type"),
    (14, "content_encoding"),
    (13, "headers"),
    (12, ""),
    (11, ""),
    (10, "correlation_id"),
    (9, "reply_to"),
    (8, ""),
    (7, "message_id"),
    (6, ""),
    (5, "type"),
    (4, "user"),
    (3, ""),
    (2, ""),
)
_OCTETS, _TIMESTAMP = {12, 11}, 6
_FIXED = {
    ord("t"): struct.Struct(">?"),
    ord("b"): struct.Struct(">b"),
    ord("B"): struct.Struct(">B"),
    ord("s"): struct.Struct(">h"),
    ord("u"): struct.Struct(">H"),
    ord("I"): struct.Struct(">i"),
    ord("i"): struct.Struct(">I"),
    ord("l"): struct.Struct(">q"),
    ord("L"): struct.Struct(">q"),
    ord("f"): struct.Struct(">f"),
    ord("d"): struct.Struct(">d"),
    ord("T"): struct.Struct(">Q"),
    ord("D"): struct.Struct(">5s"),
}


@dataclass(frozen=True, slots=True)
class Origin:
    """The queue that a channel consumes, and the tag before the channel's first."""

    queue: str
    base: int


def delivery(origin: Origin, method: bytes, header: bytes, body: bytes) -> Delivery:
    """A delivered message. Text that is not UTF-8 comes with escapes, headers that cannot be read with one named ""."""
    at = 5 + method[4]
    (tag,) = struct.unpack_from(">Q", method, at)
    exchange, after = _text(method, at + 9)
    routing_key, _ = _text(method, after)
    return Delivery(
        tag=origin.base + tag,
        queue=origin.queue,
        exchange=exchange,
        routing_key=routing_key,
        body=body,
        redelivered=bool(method[at + 8]),
        **_properties(header),
    )


def returned(method: bytes, header: bytes) -> tuple[str, str, str]:
    """The exchange, routing key and message id of a message that came back."""
    _, at = _text(method, 6)
    exchange, at = _text(method, at)
    return exchange, _text(method, at)[0], _properties(header).get("message_id", "")


def _properties(header: bytes) -> dict[str, Any]:
    flags, at = CONTENT.unpack_from(header)[3], CONTENT.size
    found = dict[str, Any]()
    for bit, name in _PROPERTIES:
        if not flags >> bit & 1:
            continue
        if bit in _OCTETS:
            at += 1
        elif bit == _TIMESTAMP:
            at += 8
        elif name == "headers":
            end = at + 4 + _LONG.unpack_from(header, at)[0]
            found[name] = headers_of(header[at + 4 : end])
            at = end
        else:
            text, at = _text(header, at)
            if name:
                found[name] = text
    return found


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(errors="backslashreplace"), end


def headers_of(table: bytes) -> dict[str, object]:
    """The headers in an AMQP field table; one named "" marks a table that is malformed, too long or too deep."""
    try:
        return _Table(table).fields(0, len(table), 0)
    except (ValueError, LookupError, struct.error):
        return {"": table[:64]}


class _Table:
    def __init__(self, data: bytes) -> None:
        self.data, self.left = data, MAX_HEADERS

    def fields(self, at: int, end: int, depth: int) -> dict[str, object]:
        found = dict[str, object]()
        while at < end:
            name, at = _text(self.data, at)
            found[name], at = self._value(at, depth)
        return found

    def _value(self, at: int, depth: int) -> tuple[object, int]:
        self.left -= 1
        if self.left < 0 or depth > MAX_NESTING:
            raise ValueError("too many headers")
        kind, at = self.data[at], at + 1
        if fixed := _FIXED.get(kind):
            return fixed.unpack_from(self.data, at)[0], at + fixed.size
        if kind in b"V\0":
            return None, at
        if kind not in b"SxFA":
            raise ValueError(f"field type {kind}")
        start = at + 4
        end = start + _LONG.unpack_from(self.data, at)[0]
        if end > len(self.data):
            raise ValueError("field longer than its table")
        if kind in b"Sx":
            return _string(self.data[start:end]), end
        return (self.fields(start, end, depth + 1) if kind == ord("F") else self._list(start, end, depth)), end

    def _list(self, at: int, end: int, depth: int) -> list[object]:
        found = list[object]()
        while at < end:
            value, at = self._value(at, depth + 1)
            found.append(value)
        return found


def _string(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
