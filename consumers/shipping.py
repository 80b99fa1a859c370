"""What runs print, on its way to the log keeper: gathered by run and stream while the last chunks are being sent."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from domain.errors import Unavailable, Unroutable
from domain.ports.broker import Outgoing, Publisher
from domain.ports.log import NewId
from domain.ports.logkeeping import LogStream

Pause = Callable[[float], Awaitable[None]]
CHUNK = 64 << 10
HIGH_WATER = 4 << 20
AT_ONCE = 32
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Whose output it is."""

    namespace: str
    run: UUID
    fence: int


@dataclass(slots=True)
class _Pending:
    source: Source
    stream: LogStream
    offset: int
    data: bytearray = field(default_factory=bytearray)
    last: bool = False


class LogShipper:
    """Publishes chunks of at most 64 KiB. Who adds to it waits while 4 MiB are pending."""

    def __init__(self, publisher: Publisher, new_id: NewId, pause: Pause = asyncio.sleep) -> None:
        self._pause = pause
        self._publisher, self._new_id = publisher, new_id
        self._pending: list[_Pending] = []
        self._open: dict[tuple[UUID, LogStream], _Pending] = {}
        self._bytes = 0
        self._wake, self._room, self._idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._room.set()
        self._idle.set()

    async def put(self, source: Source, stream: LogStream, offset: int, data: bytes, last: bool = False) -> None:
        """Take the next bytes of a stream; `last`: the stream ends with them (they may be none)."""
        await self._room.wait()
        pending = self._open.get((source.run, stream))
        if pending is None or pending.offset + len(pending.data) != offset:
            pending = self._open[source.run, stream] = _Pending(source, stream, offset)
            self._pending.append(pending)
        pending.data += data
        pending.last = pending.last or last
        self._bytes += len(data)
        if self._bytes >= HIGH_WATER:
            self._room.clear()
        self._idle.clear()
        self._wake.set()

    async def sent(self) -> None:
        """Wait until nothing is pending."""
        await self._idle.wait()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                await self._send(self._take())
            self._idle.set()

    def _take(self) -> list[Outgoing]:
        taken, self._pending, self._open, self._bytes = self._pending, [], {}, 0
        self._room.set()
        return [chunk for pending in taken for chunk in self._chunks(pending)]

    def _chunks(self, pending: _Pending) -> list[Outgoing]:
        starts = range(0, max(len(pending.data), 1), CHUNK)
        return [self._chunk(pending, start, last=pending.last and start == starts[-1]) for start in starts]

    def _chunk(self, pending: _Pending, start: int, last: bool) -> Outgoing:
        source = pending.source
        return Outgoing(
            exchange="task.logs",
            routing_key=f"{source.namespace}.{source.run}",
            type="log.chunk.v1",
            id=self._new_id(),
            body=bytes(pending.data[start : start + CHUNK]),
            headers={
                "run-id": str(source.run),
                "fence": source.fence,
                "stream": pending.stream,
                "offset": pending.offset + start,
                "last": last,
            },
            content_type="application/octet-stream",
        )

    async def _send(self, chunks: list[Outgoing]) -> None:
        for start in range(0, len(chunks), AT_ONCE):
            pause = FIRST_PAUSE
            while True:
                try:
                    await self._publisher.publish(chunks[start : start + AT_ONCE])
                    break
                except (Unavailable, Unroutable) as error:
                    log.warning("%d log chunks wait: %s", len(chunks) - start, error)
                    await self._pause(random.uniform(0, pause))
                    pause = min(2 * pause, LONGEST_PAUSE)
