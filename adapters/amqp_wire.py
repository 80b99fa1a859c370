"""Connections and channels: aiormq's, with the content frames taken from the tap."""

import asyncio
from functools import partial
from typing import Any

import aiormq
from aiormq.abc import AbstractChannel, ChannelFrame
from pamqp.common import FieldTable
from yarl import URL

from adapters.amqp_tap import Assembly, Content, TapFactory
from domain.errors import Unavailable

OPEN_WITHIN = 10.0
HEARTBEAT_SECONDS = 10


class TappedChannel:
    """A channel whose content is taken from the tap."""

    def __init__(self, wire: "Wire", channel: AbstractChannel) -> None:
        self.aiormq, self._wire = channel, wire
        self.number = channel.number

    @property
    def frame_max(self) -> int:
        return int(self._wire.connection.connection_tune.frame_max)

    @property
    def closed(self) -> bool:
        return bool(self._wire.closed or self.aiormq.is_closed)

    async def send(self, frames: bytes) -> None:
        """Hand packed frames to the connection's writer."""
        frame = ChannelFrame(payload=frames, should_close=False)
        await self._wire.connection.write_queue.put(frame)  # pyright: ignore[reportUnknownMemberType]

    async def close(self) -> None:
        """Close it; what was not settled goes back to its queue."""
        self._wire.forget(self.number)
        await self.aiormq.close()


class Wire:
    """One connection. Opened by `open_wire`; never reused once `closed`."""

    def __init__(self, connection: aiormq.Connection, factory: TapFactory) -> None:
        self.connection, self._factory = connection, factory

    @property
    def closed(self) -> bool:
        return bool(self.connection.is_closed or self._factory.transport.is_closing())

    async def channel(self, content: Content, confirms: bool = False) -> TappedChannel:
        channel = await self.connection.channel(publisher_confirms=confirms)
        self._factory.tap.assemblies[channel.number] = Assembly(content)
        channel.closing.add_done_callback(partial(self._channel_lost, channel.number))  # pyright: ignore[reportUnknownMemberType]
        return TappedChannel(self, channel)

    def _channel_lost(self, number: int, closing: "asyncio.Future[Any]") -> None:
        assembly = self._factory.tap.assemblies.pop(number, None)
        if assembly is not None:
            error = None if closing.cancelled() else closing.exception()
            assembly.content.lost(str(error) or type(error).__name__)

    def lost(self, closing: "asyncio.Future[Any]") -> None:
        """The connection has ended: so have its channels."""
        for number in list(self._factory.tap.assemblies):
            self._channel_lost(number, closing)

    def forget(self, number: int) -> None:
        """Take no more content for this channel."""
        self._factory.tap.assemblies.pop(number, None)

    def abort(self) -> None:
        """Cut the connection without a word: for one that does not answer."""
        self._factory.transport.abort()

    async def close(self) -> None:
        """Say good-bye, at most 2 s."""
        try:
            async with asyncio.timeout(2):
                await self.connection.close()
        except TimeoutError:
            self.abort()


async def open_wire(url: str, name: str) -> Wire:
    """Connect as `name`, which the broker's lists show. Raises Unavailable if that takes more than 10 s."""
    factory = TapFactory()
    address = URL(url)
    if "heartbeat" not in address.query:
        address = address.update_query(heartbeat=HEARTBEAT_SECONDS)
    properties: FieldTable = {"connection_name": name}
    connection = aiormq.Connection(address, transport_factory=factory, client_properties=properties)
    try:
        async with asyncio.timeout(OPEN_WITHIN):
            await connection.connect()  # pyright: ignore[reportUnknownMemberType]
    except (aiormq.AMQPError, OSError, TimeoutError) as error:
        where = f"{address.host}:{address.port}{address.path}"
        raise Unavailable(f"broker {where}: {str(error) or type(error).__name__}") from error
    wire = Wire(connection, factory)
    connection.closing.add_done_callback(wire.lost)  # pyright: ignore[reportUnknownMemberType]
    return wire


class Link:
    """A connection that is opened when it is needed, and again after it was lost."""

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name
        self._opening = asyncio.Lock()
        self._wire: Wire | None = None

    async def wire(self) -> Wire:
        async with self._opening:
            if self._wire is None or self._wire.closed:
                self._wire = await open_wire(self._url, self._name)
            return self._wire

    def abort(self) -> None:
        if self._wire is not None:
            self._wire.abort()

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close()
