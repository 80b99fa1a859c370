"""What every log storage promises the log keeper and the API."""

import resource
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from adapters.event_log import connect
from adapters.in_memory.log_storage import MemoryLogs
from adapters.log_storage import LogFiles, LogReader
from adapters.reading import open_reader
from domain.errors import Unavailable
from domain.ports.logkeeping import LogChunk, LogReading, LogStorage, LogStream, StreamEnd
from tests.support.database import Database

RUN, OTHER = uuid4(), uuid4()


@dataclass(frozen=True, slots=True)
class Logs:
    """Writing and reading of one storage."""

    storage: LogStorage
    reading: LogReading


@pytest.fixture(params=["memory", pytest.param("files", marks=pytest.mark.integration)])
async def logs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Logs]:
    if request.param == "memory":
        memory = MemoryLogs()
        yield Logs(memory, memory)
        return
    database = request.getfixturevalue("pg")
    async with await connect(database.app, "test") as connection, open_reader(database.read, 1) as reader:
        yield Logs(LogFiles(tmp_path, connection), LogReader(tmp_path, reader.rows))


def chunk(offset: int, data: bytes, stream: LogStream = "stdout", last: bool = False, run: UUID = RUN) -> LogChunk:
    return LogChunk("default", run, stream, offset, data, last)


async def test_chunks_in_order_make_the_whole(logs: Logs) -> None:
    await logs.storage.store([chunk(0, b"one "), chunk(4, b"two ")])
    await logs.storage.store([chunk(8, b"three", last=True)])
    assert await logs.reading.read(RUN, "stdout", 0, 100) == b"one two three"
    assert await logs.reading.ends(RUN) == {"stdout": StreamEnd(13, last=True)}


async def test_streams_and_runs_are_kept_apart(logs: Logs) -> None:
    await logs.storage.store([chunk(0, b"out"), chunk(0, b"err", "stderr"), chunk(0, b"other", run=OTHER)])
    assert await logs.reading.read(RUN, "stderr", 0, 100) == b"err"
    assert await logs.reading.ends(RUN) == {"stdout": StreamEnd(3, last=False), "stderr": StreamEnd(3, last=False)}
    assert await logs.reading.ends(OTHER) == {"stdout": StreamEnd(5, last=False)}


async def test_chunks_stored_again_change_nothing(logs: Logs) -> None:
    for _ in range(2):
        await logs.storage.store([chunk(0, b"one "), chunk(4, b"two", last=True)])
    assert await logs.reading.read(RUN, "stdout", 0, 100) == b"one two"
    assert await logs.reading.ends(RUN) == {"stdout": StreamEnd(7, last=True)}


async def test_chunks_cut_differently_by_a_restarted_worker_fit(logs: Logs) -> None:
    await logs.storage.store([chunk(0, b"abc")])
    await logs.storage.store([chunk(0, b"abcde"), chunk(5, b"fg", last=True)])
    assert await logs.reading.read(RUN, "stdout", 0, 100) == b"abcdefg"
    assert await logs.reading.ends(RUN) == {"stdout": StreamEnd(7, last=True)}


async def test_bytes_behind_a_gap_count_when_it_is_filled(logs: Logs) -> None:
    await logs.storage.store([chunk(0, b"one"), chunk(6, b"three", last=True)])
    assert await logs.reading.ends(RUN) == {"stdout": StreamEnd(3, last=False, beyond=5)}
    assert await logs.reading.read(RUN, "stdout", 0, 100) == b"one"
    await logs.storage.store([chunk(3, b"two")])
    assert await logs.reading.ends(RUN) == {"stdout": StreamEnd(11, last=True)}
    assert await logs.reading.read(RUN, "stdout", 2, 4) == b"etwo"


async def test_a_last_chunk_may_be_empty(logs: Logs) -> None:
    await logs.storage.store([chunk(0, b"all")])
    await logs.storage.store([chunk(3, b"", last=True)])
    assert await logs.reading.ends(RUN) == {"stdout": StreamEnd(3, last=True)}


async def test_reading_beyond_the_end_and_of_the_unknown_is_empty(logs: Logs) -> None:
    await logs.storage.store([chunk(0, b"all")])
    assert await logs.reading.read(RUN, "stdout", 3, 100) == b""
    assert await logs.reading.read(OTHER, "stdout", 0, 100) == b""
    assert await logs.reading.ends(OTHER) == {}


@contextmanager
def files_of_at_most(size: int) -> Generator[None]:
    """A disk on which files have no room beyond this: a write takes what fits, and says how much that was."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.integration
async def test_bytes_that_the_disk_has_no_room_for_are_not_counted_as_stored(pg: Database, tmp_path: Path) -> None:
    async with await connect(pg.app, "test") as connection, open_reader(pg.read, 1) as reader:
        storage, reading = LogFiles(tmp_path, connection), LogReader(tmp_path, reader.rows)
        with files_of_at_most(1000), pytest.raises(Unavailable):
            await storage.store([chunk(0, bytes(1500))])
        assert await reading.ends(RUN) == {}

        await storage.store([chunk(0, b"x" * 1500)])
        assert await reading.read(RUN, "stdout", 0, 2000) == b"x" * 1500
