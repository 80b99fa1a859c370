"""What runs print, in files `<folder>/<namespace>/<run>/<stream>.log`; how far each goes, in table `log_ends`."""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from adapters.handler_store import unavailable
from adapters.pipeline import Connection
from adapters.threads import Threads
from domain.errors import Unavailable
from domain.ports.logkeeping import LogChunk, LogStream, StreamEnd

_COUNT = (
    b"INSERT INTO log_ends AS l (run_id, stream, namespace, stored, length) "
    b"SELECT k.run, k.stream, k.namespace, k.stored::int8multirange, k.length "
    b"FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::bigint[]) "
    b"AS k(run, stream, namespace, stored, length) "
    b"ON CONFLICT (run_id, stream) DO UPDATE SET stored = l.stored + excluded.stored, "
    b"length = coalesce(excluded.length, l.length)"
)
_ENDS = (
    "SELECT stream, bytes, last, (SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM unnest(stored) r)::bigint - bytes "
    "FROM log_ends WHERE run_id = %s"
)
_WHERE = "SELECT namespace, bytes FROM log_ends WHERE run_id = %s AND stream = %s"
Rows = Callable[..., Awaitable[list[tuple[Any, ...]]]]


def file_of(folder: Path, namespace: str, run_id: UUID, stream: LogStream) -> Path:
    """Where a stream's bytes are."""
    return folder / namespace / str(run_id) / f"{stream}.log"


class LogFiles:
    """`domain.ports.logkeeping.LogStorage`. `connection` is its own."""

    def __init__(self, folder: Path, connection: Connection) -> None:
        self._folder, self._connection = folder, connection
        self._threads = Threads(1, "log files")

    async def store(self, chunks: Sequence[LogChunk]) -> None:
        try:
            await self._threads.call(self._write, chunks)
        except OSError as error:
            raise Unavailable(f"log storage {self._folder}: {error.strerror or error}") from error
        rows = sorted(_by_stream(chunks).values(), key=lambda row: (row[0].run_id, row[0].stream))
        columns = (
            [first.run_id for first, _, _ in rows],
            [first.stream for first, _, _ in rows],
            [first.namespace for first, _, _ in rows],
            [f"{{{','.join(ranges)}}}" for _, ranges, _ in rows],
            [length for _, _, length in rows],
        )
        async with unavailable():
            await self._connection.execute(_COUNT, columns)

    def _write(self, chunks: Sequence[LogChunk]) -> None:
        files: dict[Path, list[LogChunk]] = {}
        for chunk in chunks:
            if chunk.data:
                path = file_of(self._folder, chunk.namespace, chunk.run_id, chunk.stream)
                files.setdefault(path, []).append(chunk)
        for path, own in files.items():
            self._write_file(path, own)

    def _write_file(self, path: Path, chunks: Sequence[LogChunk]) -> None:
        new = not path.exists()
        if new:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o640)
        try:
            for chunk in chunks:
                _write_at(file, chunk.offset, chunk.data)
            os.fsync(file)
        finally:
            os.close(file)
        if new:
            for folder in (path.parent, path.parent.parent, self._folder):
                _sync(folder)


class LogReader:
    """`domain.ports.logkeeping.LogReading`. `rows` runs a statement; the files are on this machine, or mounted."""

    def __init__(self, folder: Path, rows: Rows) -> None:
        self._folder, self._rows = folder, rows
        self._threads = Threads(4, "log reading")

    async def ends(self, run_id: UUID) -> Mapping[LogStream, StreamEnd]:
        return {stream: StreamEnd(*end) for stream, *end in await self._rows(_ENDS, run_id)}

    async def read(self, run_id: UUID, stream: LogStream, start: int, limit: int) -> bytes:
        found = await self._rows(_WHERE, run_id, stream)
        if not found or found[0][1] <= start:
            return b""
        namespace, stored = found[0]
        path = file_of(self._folder, namespace, run_id, stream)
        try:
            return await self._threads.call(_read, path, start, min(limit, stored - start))
        except OSError as error:
            raise Unavailable(f"log storage {path}: {error.strerror or error}") from error


def _by_stream(chunks: Sequence[LogChunk]) -> dict[tuple[UUID, LogStream], tuple[LogChunk, list[str], int | None]]:
    """For each stream its first chunk, the ranges stored, and where its last chunk ends."""
    streams: dict[tuple[UUID, LogStream], tuple[LogChunk, list[str], int | None]] = {}
    for chunk in chunks:
        first, ranges, length = streams.get((chunk.run_id, chunk.stream), (chunk, [], None))
        if chunk.data:
            ranges.append(f"[{chunk.offset},{chunk.end})")
        streams[chunk.run_id, chunk.stream] = (first, ranges, chunk.end if chunk.last else length)
    return streams


def _read(path: Path, start: int, limit: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(limit)


def _write_at(file: int, offset: int, data: bytes) -> None:
    """All of `data`: a disk that is almost full takes a part first, and refuses with the next call."""
    left = memoryview(data)
    while left:
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
