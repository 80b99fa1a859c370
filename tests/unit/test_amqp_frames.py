"""The frames of publishing and delivering, byte by byte against the library that aio-pika uses."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pamqp.frame
import pytest
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from adapters.amqp_deliveries import Origin, delivery, headers_of
from adapters.amqp_frames import publish_frames, split
from domain.ports.broker import Outgoing

ID = UUID("019abcde-0000-7000-8000-000000000001")


def frames(data: bytes) -> list[object]:
    found: list[object] = []
    while data:
        used, channel, frame = pamqp.frame.unmarshal(data)
        assert channel == 7
        found.append(frame)
        data = data[used:]
    return found


def test_published_frames_are_read_alike_by_pamqp() -> None:
    message = Outgoing(
        "task.commands",
        "task.submit.default",
        "task.submit.v1",
        ID,
        b"{}" * 3,
        headers={"n": -7, "yes": True, "name": "ä"},
        correlation_id="night",
        reply_to="answers",
        persistent=False,
        expires_after=timedelta(seconds=1.5),
        at=datetime(2026, 11, 21, 8, tzinfo=UTC),
    )

    publish, header, *bodies = frames(publish_frames(7, message, frame_max=4 + 8))

    assert isinstance(publish, commands.Basic.Publish)
    assert (publish.exchange, publish.routing_key, publish.mandatory) == ("task.commands", "task.submit.default", True)
    assert isinstance(header, ContentHeader)
    assert header.body_size == 6
    assert dict(header.properties) == {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {
            "ce-specversion": "1.0",
            "ce-id": str(ID),
            "ce-type": "task.submit.v1",
            "n": -7,
            "yes": True,
            "name": "ä",
        },
        "delivery_mode": 1,
        "priority": None,
        "correlation_id": "night",
        "reply_to": "answers",
        "expiration": "1500",
        "message_id": str(ID),
        "timestamp": datetime(2026, 11, 21, 8, tzinfo=UTC),
        "message_type": "task.submit.v1",
        "user_id": None,
        "app_id": "tallyport",
        "cluster_id": "",
    }
    assert [body.value for body in bodies if isinstance(body, ContentBody)] == [b"{}{}", b"{}"]


def test_a_routing_key_of_more_than_255_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="AMQP allows 255"):
        publish_frames(1, Outgoing("", "ä" * 128, "t", ID, b""), 131_072)


def delivered(header: ContentHeader) -> tuple[bytes, bytes]:
    method = commands.Basic.Deliver("tag", 5, True, "task.commands", "task.submit.default")
    return _payload(pamqp.frame.marshal(method, 7)), _payload(pamqp.frame.marshal(header, 7))


def _payload(frame: bytes) -> bytes:
    ((_, _, start, stop),) = split(frame)
    return frame[start:stop]


def test_every_kind_of_header_and_property_is_read() -> None:
    headers: dict[str, Any] = {
        "text": "ä",
        "bytes": bytearray(b"\xff"),
        "small": 1,
        "large": -(2**62),
        "double": 1.5,
        "yes": True,
        "nothing": None,
        "when": datetime(2026, 11, 21, tzinfo=UTC),
        "list": [1, "two", [3]],
        "table": {"a": {"b": "c"}},
    }
    properties = commands.Basic.Properties(
        "application/json", "utf-8", headers, 2, 9, "corr", "reply", "60000", "id", datetime.now(UTC), "type",
        "alice", "app",
    )  # fmt: skip
    method, header = delivered(ContentHeader(0, 2, properties))

    got = delivery(Origin("q", 100), method, header, b"{}")

    assert (got.tag, got.queue, got.exchange, got.routing_key, got.redelivered) == (
        105,
        "q",
        "task.commands",
        "task.submit.default",
        True,
    )
    assert (got.content_type, got.content_encoding, got.correlation_id) == ("application/json", "utf-8", "corr")
    assert (got.reply_to, got.message_id, got.type, got.user) == ("reply", "id", "type", "alice")
    assert got.headers == headers | {"bytes": b"\xff", "when": 1_795_219_200}


def test_text_that_is_not_utf_8_comes_with_escapes() -> None:
    method, header = delivered(ContentHeader(0, 0, commands.Basic.Properties(message_id="id")))

    got = delivery(Origin("q", 0), method, header.replace(b"id", b"\xff\0"), b"")

    assert got.message_id == "\\xff\0"


@pytest.mark.parametrize(
    "table",
    [b"\xff", b"\x01aS\x00\x00\xff\xff", b"\x01a?", b"\x01aI\x00", b"\x01aF\x00\x00\x00\x02\x05", b"\x00V" * 1001],
)
def test_headers_that_cannot_be_decoded_leave_a_nameless_one(table: bytes) -> None:
    assert headers_of(table) == {"": table[:64]}
