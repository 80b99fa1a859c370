"""Publishing in windows: one write for many messages, then the broker's confirms of all of them."""

import asyncio
from collections.abc import Iterator, Sequence
from uuid import UUID

import aiormq

from adapters.amqp_deliveries import returned
from adapters.amqp_frames import confirmed, publish_frames
from adapters.amqp_wire import Link, TappedChannel
from domain.errors import Nacked, Unavailable, Unroutable
from domain.ports.broker import Outgoing

CONFIRM_WITHIN = 10.0
WINDOW, WINDOW_BYTES = 500, 1 << 20


class _Window:
    """Messages sent together, until the broker's word on each is there."""

    def __init__(self, messages: Sequence[Outgoing]) -> None:
        self.messages, self.left = messages, len(messages)
        self.returned: Unroutable | None = None
        self.nacked = list[UUID]()
        self.first = 0
        self.done = asyncio.get_running_loop().create_future()

    def settle(self, tag: int, acked: bool) -> None:
        self.left -= 1
        if not acked:
            self.nacked.append(self.messages[tag - self.first].id)
        if self.left == 0 and not self.done.done():
            self.done.set_result(None)

    def give_up(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(Unavailable(f"broker: {why}"))
            self.done.exception()  # who waited may have left


class _Confirms:
    """The publishing channel's side of the tap: which window waits for which tag."""

    def __init__(self) -> None:
        self._next, self._low = 1, 1
        self._waiting = dict[int, _Window]()

    def expect(self, window: _Window) -> None:
        """The next tags are those of `window`'s messages."""
        window.first, self._next = self._next, self._next + window.left
        self._waiting.update((tag, window) for tag in range(window.first, self._next))

    def confirmed(self, method: bytes, acked: bool) -> None:
        tag, multiple = confirmed(method)
        for settled in range(self._low, tag + 1) if multiple else (tag,):
            window = self._waiting.pop(settled, None)
            if window is not None:
                window.settle(settled, acked)
        if multiple:
            self._low = tag + 1

    def returned(self, method: bytes, header: bytes) -> None:
        exchange, key, message_id = returned(method, header)
        for window in dict.fromkeys(self._waiting.values()):
            if any(str(message.id) == message_id for message in window.messages):
                window.returned = window.returned or Unroutable(exchange, key)
                return

    def delivered(self, method: bytes, header: bytes, body: bytes) -> None:
        """Nothing is consumed on this channel."""

    def lost(self, why: str) -> None:
        for window in dict.fromkeys(self._waiting.values()):
            window.give_up(why)
        self._waiting.clear()


class AmqpPublisher:
    """One channel with confirms on one connection; both are opened again after a loss, by the next call."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._sending = asyncio.Lock()
        self._channel: tuple[TappedChannel, _Confirms] | None = None

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        nacked = list[UUID]()
        for window in _windows(messages):
            try:
                async with asyncio.timeout(CONFIRM_WITHIN):
                    nacked += await self._publish(window)
            except TimeoutError:
                self._link.abort()
                raise Unavailable(f"broker: no confirm within {CONFIRM_WITHIN:g} s") from None
            except (aiormq.AMQPError, OSError, RuntimeError) as error:
                raise Unavailable(f"broker: {str(error) or type(error).__name__}") from error
        if nacked:
            raise Nacked(nacked)

    async def ready(self) -> None:
        """Connect if that is still to be done. Raises Unavailable."""
        try:
            async with asyncio.timeout(CONFIRM_WITHIN), self._sending:
                await self._open()
        except (TimeoutError, aiormq.AMQPError, OSError, RuntimeError) as error:
            raise Unavailable(f"broker: {str(error) or type(error).__name__}") from error

    async def _publish(self, messages: Sequence[Outgoing]) -> Sequence[UUID]:
        """Those that the broker refuses."""
        async with self._sending:
            channel, confirms = await self._open()
            frames = b"".join(publish_frames(channel.number, message, channel.frame_max) for message in messages)
            window = _Window(messages)
            confirms.expect(window)
            try:
                await channel.send(frames)
            except asyncio.CancelledError:
                self._channel = None  # it is not known whether the tags given above were used
                raise
        await window.done
        if window.returned is not None:
            raise window.returned
        return window.nacked

    async def _open(self) -> tuple[TappedChannel, _Confirms]:
        if self._channel is None or self._channel[0].closed:
            confirms = _Confirms()
            wire = await self._link.wire()
            self._channel = (await wire.channel(confirms, confirms=True), confirms)
        return self._channel


def _windows(messages: Sequence[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    start, size = 0, 0
    for at, message in enumerate(messages):
        if at > start and (at - start >= WINDOW or size + len(message.body) > WINDOW_BYTES):
            yield messages[start:at]
            start, size = at, 0
        size += len(message.body)
    if start < len(messages):
        yield messages[start:]
