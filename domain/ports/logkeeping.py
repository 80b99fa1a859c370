"""What runs print: stored outside the event log, by run, stream and byte offset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias
from uuid import UUID

LogStream: TypeAlias = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes that a run printed on `stream`, the first of them at `offset`. `last`: nothing follows on this stream."""

    namespace: str
    run_id: UUID
    stream: LogStream
    offset: int
    data: bytes
    last: bool = False

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """How far a stream is stored. `bytes`: without a gap from its begin; `last`: that is all there will be.

    `beyond`: stored bytes that lie behind a gap.
    """

    bytes: int
    last: bool
    beyond: int = 0


class LogStorage(Protocol):
    """Where the log keeper writes. Several may write at once; order and repeats make no difference."""

    async def store(self, chunks: Sequence[LogChunk]) -> None:
        """Write the chunks, make them durable, then count them in their streams' ends: all, or raise Unavailable.

        A chunk stored before changes nothing. Bytes behind a gap are kept, and count when the gap is filled.
        """
        ...


class LogReading(Protocol):
    """What the API asks. A run that printed nothing, or is unknown, has no ends."""

    async def ends(self, run_id: UUID) -> Mapping[LogStream, StreamEnd]:
        """The streams of a run that printed something."""
        ...

    async def read(self, run_id: UUID, stream: LogStream, start: int, limit: int) -> bytes:
        """At most `limit` stored bytes from offset `start`, never beyond a gap. Empty: nothing is there (yet).

        To follow: read on from `start + len(answer)` until `ends` says that the stream's `bytes` are its last.
        """
        ...
