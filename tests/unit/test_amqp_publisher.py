"""Publishing when the broker refuses, is silent or goes away."""

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import cast
from uuid import UUID

import pytest

from adapters import amqp_publisher
from adapters.amqp_publisher import AmqpPublisher
from adapters.amqp_tap import Content
from adapters.amqp_wire import Link
from domain.errors import Nacked, Unavailable
from domain.ports.broker import Outgoing

Answer = Callable[[Content], object]


class Channel:
    """Takes what is sent; the broker's `answers` come as soon as something was sent."""

    number, frame_max, closed = 1, 131_072, False

    def __init__(self, content: Content, answers: Sequence[Answer], sent: list[bytes]) -> None:
        self._content, self._answers, self._sent = content, answers, sent

    async def send(self, frames: bytes) -> None:
        self._sent.append(frames)
        for answer in self._answers:
            answer(self._content)


class Line:
    """A connection at which each channel that is opened has its own answers; without any left, it fails to open."""

    def __init__(self, *channels: Sequence[Answer]) -> None:
        self.channels, self.sent, self.aborted = list(channels), list[bytes](), 0
        self.open: list[Channel] = []

    async def wire(self) -> "Line":
        return self

    async def channel(self, content: Content, confirms: bool = False) -> Channel:
        assert confirms
        if not self.channels:
            raise ConnectionRefusedError("nobody listens")
        self.open.append(Channel(content, self.channels.pop(0), self.sent))
        return self.open[-1]

    def abort(self) -> None:
        self.aborted += 1


def publisher(line: Line) -> AmqpPublisher:
    return AmqpPublisher(cast("Link", line))


def word(tag: int, acked: bool = True, multiple: bool = False) -> Answer:
    method = struct.pack(">HHQB", 60, 80 if acked else 120, tag, multiple)
    return lambda content: content.confirmed(method, acked)


def gone(content: Content) -> None:
    content.lost("connection reset")


def messages(count: int, size: int = 2) -> list[Outgoing]:
    body = b"{" + b" " * (size - 2) + b"}"
    return [Outgoing("task.events", "task.failed.a", "a.v1", UUID(int=n + 1), body) for n in range(count)]


async def test_messages_are_safe_when_each_is_confirmed_in_whatever_order() -> None:
    line = Line([word(3), word(2, multiple=True)])

    await publisher(line).publish(messages(3))

    assert len(line.sent) == 1


async def test_a_message_that_the_broker_refuses_is_named_when_the_rest_is_safe() -> None:
    line = Line([word(1), word(2, acked=False), word(3)])

    with pytest.raises(Nacked) as caught:
        await publisher(line).publish(messages(3))

    assert caught.value.ids == (UUID(int=2),)


async def test_a_channel_that_is_lost_is_an_outage_and_the_next_messages_go_over_another() -> None:
    line = Line([word(1), gone], [word(2, multiple=True)])
    publishing = publisher(line)
    with pytest.raises(Unavailable, match="connection reset"):
        await publishing.publish(messages(2))
    line.open[0].closed = True

    await publishing.publish(messages(2))

    assert (len(line.sent), len(line.open)) == (2, 2)


async def test_a_broker_that_says_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp_publisher, "CONFIRM_WITHIN", 0.01)
    line = Line([word(1)])

    with pytest.raises(Unavailable, match="no confirm within"):
        await publisher(line).publish(messages(2))

    assert line.aborted == 1


async def test_a_broker_that_cannot_be_reached_is_an_outage() -> None:
    with pytest.raises(Unavailable, match="nobody listens"):
        await publisher(Line()).publish(messages(1))
    with pytest.raises(Unavailable, match="nobody listens"):
        await publisher(Line()).ready()


async def test_who_leaves_while_sending_leaves_no_doubtful_tags_behind() -> None:
    async def publish_and_leave() -> None:
        await publishing.publish(messages(1))

    line = Line([lambda _: task.cancel(), interrupt], [word(1)])
    publishing = publisher(line)
    task = asyncio.ensure_future(publish_and_leave())
    with pytest.raises(asyncio.CancelledError):
        await task

    await publishing.publish(messages(1))

    assert len(line.open) == 2


def interrupt(_: Content) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("count", "size", "ends"),
    [
        (0, 2, []),
        (1, 2, [1]),
        (500, 2, [500]),
        (501, 2, [500, 501]),
        (3, 600 << 10, [1, 2, 3]),
        (4, 400 << 10, [2, 4]),
        (2, 2 << 20, [1, 2]),
    ],
)
async def test_no_window_is_larger_than_its_bounds_unless_a_single_message_is(
    count: int, size: int, ends: list[int]
) -> None:
    left = iter(ends)

    def confirm_all(content: Content) -> None:
        word(next(left), multiple=True)(content)

    line = Line([confirm_all])

    await publisher(line).publish(messages(count, size))

    assert len(line.sent) == len(ends)
