"""Consuming while the connection comes and goes and the reader waits only briefly."""

import asyncio
from typing import cast

import pytest

from adapters.amqp_frames import CONTENT, DELIVER
from adapters.amqp_subscription import AmqpSubscription
from adapters.amqp_tap import Content
from adapters.amqp_wire import Link
from adapters.intake import Intake
from domain.ports.broker import Delivery

DEADLINE = 20
METHOD = DELIVER + b"\x01t" + (1).to_bytes(8, "big") + b"\0" + b"\0" + b"\0"
HEADER = CONTENT.pack(60, 0, 2, 0)


class Channel:
    """A channel of which each consumer has to wait for `allowed`."""

    closed = False

    def __init__(self, content: Content, allowed: asyncio.Event) -> None:
        self.content, self._allowed = content, allowed
        self.aiormq = self
        self.on_consumer_cancel_callbacks = set[object]()
        self.consumed = asyncio.Event()

    async def basic_qos(self, prefetch_count: int) -> None:
        """As many as you like."""

    async def basic_consume(self, queue: str, callback: object, exclusive: bool) -> None:
        await self._allowed.wait()
        self.consumed.set()


class Line:
    """A connection, and the newest channel opened on it."""

    def __init__(self) -> None:
        self.allowed = asyncio.Event()
        self.channels = asyncio.Queue[Channel]()

    async def wire(self) -> "Line":
        return self

    async def channel(self, content: Content) -> Channel:
        channel = Channel(content, self.allowed)
        self.channels.put_nowait(channel)
        return channel

    def lose(self, channel: Channel) -> None:
        """The connection of this channel is gone."""
        channel.closed = True
        channel.content.lost("connection reset")


async def read(subscription: AmqpSubscription) -> list[Delivery]:
    return list(await asyncio.wait_for(subscription.batch(10), DEADLINE))


async def test_a_reader_who_gave_up_while_consuming_began_hears_again_after_the_next_loss() -> None:
    line = Line()
    subscription = AmqpSubscription(cast("Link", line), Intake("letters", 10))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(subscription.batch(10), 0.01)
    first = await line.channels.get()
    line.allowed.set()
    await asyncio.wait_for(first.consumed.wait(), DEADLINE)

    line.lose(first)
    reading = asyncio.create_task(read(subscription))
    second = await asyncio.wait_for(line.channels.get(), DEADLINE)
    second.content.delivered(METHOD, HEADER, b"{}")

    assert [delivery.body for delivery in await reading] == [b"{}"]
