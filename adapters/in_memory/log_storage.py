"""Log storage and its reading in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from domain.ports.logkeeping import LogChunk, LogStream, StreamEnd


@dataclass(slots=True)
class _Stream:
    data: dict[int, int] = field(default_factory=dict[int, int])
    length: int | None = None

    @property
    def bytes(self) -> int:
        return next((offset for offset in range(len(self.data) + 1) if offset not in self.data), 0)


class MemoryLogs:
    """See `LogStorage` and `LogReading`."""

    def __init__(self) -> None:
        self._streams: dict[tuple[UUID, LogStream], _Stream] = {}

    async def store(self, chunks: Sequence[LogChunk]) -> None:
        for chunk in chunks:
            stream = self._streams.setdefault((chunk.run_id, chunk.stream), _Stream())
            stream.data |= dict(enumerate(chunk.data, start=chunk.offset))
            if chunk.last:
                stream.length = chunk.end

    async def ends(self, run_id: UUID) -> Mapping[LogStream, StreamEnd]:
        return {
            name: StreamEnd(stream.bytes, stream.bytes == stream.length, len(stream.data) - stream.bytes)
            for (run, name), stream in self._streams.items()
            if run == run_id
        }

    async def read(self, run_id: UUID, stream: LogStream, start: int, limit: int) -> bytes:
        stored = self._streams.get((run_id, stream), _Stream())
        return bytes(stored.data[offset] for offset in range(start, min(start + limit, stored.bytes)))
