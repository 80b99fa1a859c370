"""The AMQP 0-9-1 frames of publishing, packed by hand because they go out thousands a second; the rest is aiormq's."""

import struct
from collections.abc import Iterator, Mapping

from domain.ports.broker import Outgoing

METHOD, HEADER, BODY = 1, 2, 3
PUBLISH, RETURN, DELIVER = b"\x00<\x00(", b"\x00<\x002", b"\x00<\x00<"
ACK, NACK = b"\x00<\x00P", b"\x00<\x00x"
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
APP = b"\x09tallyport"

_FRAME = struct.Struct(">BHI")
CONTENT = struct.Struct(">HHQH")
_LONG, _LONGLONG = struct.Struct(">I"), struct.Struct(">q")


def ce_headers(message: Outgoing) -> dict[str, str | int | bool]:
    """The headers that travel with `message`: its own and the attributes that CloudEvents requires."""
    return {
        "ce-specversion": "1.0",
        "ce-id": str(message.id),
        "ce-type": message.type,
        **message.headers,
    }


def content_encoding(message: Outgoing) -> str | None:
    """`utf-8` for JSON, nothing for raw bytes."""
    return "utf-8" if message.content_type.endswith("json") else None


def publish_frames(channel: int, message: Outgoing, frame_max: int) -> bytes:
    """The frames that publish `message` on `channel`. Raises ValueError for a name of more than 255 bytes."""
    method = b"".join(
        (PUBLISH, b"\0\0", _short(message.exchange), _short(message.routing_key), bytes((message.mandatory,)))
    )
    frames = [_frame(METHOD, channel, method), _frame(HEADER, channel, _content(message))]
    room = frame_max - 8
    starts = range(0, len(message.body), room)
    frames.extend(_frame(BODY, channel, message.body[start : start + room]) for start in starts)
    return b"".join(frames)


def _content(message: Outgoing) -> bytes:
    flags = 1 << 15 | 1 << 13 | 1 << 12 | 1 << 7 | 1 << 5 | 1 << 3
    parts = [_short(message.content_type)]
    if encoding := content_encoding(message):
        flags |= 1 << 14
        parts.append(_short(encoding))
    parts += (_table(ce_headers(message)), b"\x02" if message.persistent else b"\x01")
    if message.correlation_id is not None:
        flags |= 1 << 10
        parts.append(_short(message.correlation_id))
    if message.reply_to is not None:
        flags |= 1 << 9
        parts.append(_short(message.reply_to))
    if message.expires_after is not None:
        flags |= 1 << 8
        parts.append(_short(str(max(0, int(message.expires_after.total_seconds() * 1000)))))
    parts.append(_short(str(message.id)))
    if message.at is not None:
        flags |= 1 << 6
        parts.append(_LONGLONG.pack(int(message.at.timestamp())))
    parts.append(_short(message.type))
    if message.user is not None:
        flags |= 1 << 4
        parts.append(_short(message.user))
    parts.append(APP)
    return CONTENT.pack(60, 0, len(message.body), flags) + b"".join(parts)


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return b"".join((_FRAME.pack(kind, channel, len(payload)), payload, b"\xce"))


def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > 255:
        raise ValueError(f"{text[:40]}…: {len(data)} bytes; AMQP allows 255 here")
    return bytes((len(data),)) + data


def _table(headers: Mapping[str, str | int | bool]) -> bytes:
    parts = list[bytes]()
    for name, value in headers.items():
        parts.append(_short(name))
        if isinstance(value, str):
            data = value.encode()
            parts += (b"S", _LONG.pack(len(data)), data)
        elif isinstance(value, bool):
            parts.append(b"t\x01" if value else b"t\x00")
        else:
            parts += (b"l", _LONGLONG.pack(value))
    table = b"".join(parts)
    return _LONG.pack(len(table)) + table


def split(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The whole frames at the start of `data`: (kind, channel, start of payload, end of payload)."""
    at, end = 0, len(data)
    while end - at >= 8:
        kind, channel, size = _FRAME.unpack_from(data, at)
        if end - at < size + 8:
            return
        yield kind, channel, at + 7, at + 7 + size
        at += size + 8


def confirmed(method: bytes) -> tuple[int, bool]:
    """The tag that a basic.ack or basic.nack names, and whether it stands for all before it too."""
    tag, multiple = struct.unpack_from(">QB", method, 4)
    return tag, bool(multiple & 1)


def body_size(header: bytes) -> int:
    return int(CONTENT.unpack_from(header)[2])
