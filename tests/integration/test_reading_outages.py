"""A reader whose database goes away, says nothing, or is busy: an answer or an outage, and soon."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import psycopg
import pytest

from adapters.reading import SILENT_SECONDS, STATEMENT_SECONDS, Reader, open_reader
from domain.errors import Unavailable
from tests.support.database import Database

pytestmark = pytest.mark.integration


class Silent:
    """A way to the database on which nothing moves once `still` is set, and nobody is told."""

    def __init__(self, dsn: str) -> None:
        self._at, self.still, self.port = urlsplit(dsn), asyncio.Event(), 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near = await asyncio.open_connection(self._at.hostname, self._at.port)
        with suppress(ConnectionError):
            await asyncio.gather(self._one_way(reader, near[1]), self._one_way(near[0], writer))

    async def _one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (data := await reader.read(65_536)) and not self.still.is_set():
            writer.write(data)
        if not self.still.is_set():
            writer.close()


@asynccontextmanager
async def silent(dsn: str) -> AsyncGenerator[tuple[str, Silent]]:
    way = Silent(dsn)
    server = await asyncio.start_server(way.carry, "127.0.0.1", 0)
    at, port = urlsplit(dsn), server.sockets[0].getsockname()[1]
    try:
        yield dsn.replace(f":{at.port}", f":{port}"), way
    finally:
        server.close()


async def told(reader: Reader, text: str, within: float) -> None:
    async with asyncio.timeout(within):
        with pytest.raises(Unavailable):
            await reader.rows(text)


async def test_a_silent_database_is_an_outage(pg: Database) -> None:
    async with silent(pg.read) as (dsn, way), open_reader(dsn, 2) as reader:
        assert await reader.rows("SELECT 1") == [(1,)]
        way.still.set()
        for _ in range(2):
            await told(reader, "SELECT 1", SILENT_SECONDS + STATEMENT_SECONDS + 1)


async def test_connections_that_were_lost_while_idle_are_passed_over(pg: Database) -> None:
    async with open_reader(pg.read, 4) as reader:
        await asyncio.gather(*(reader.rows("SELECT pg_sleep(0.2)") for _ in range(4)))
        with psycopg.connect(pg.owner, autocommit=True) as owner:
            ended = owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'tally queries'"
            ).fetchall()
        assert len(ended) == 4

        answers = await asyncio.gather(*(reader.rows("SELECT 1") for _ in range(8)))

    assert answers == [[(1,)]] * 8


async def test_who_finds_no_free_connection_is_told_after_one_wait(pg: Database) -> None:
    async with open_reader(pg.read, 1) as reader:
        busy = [asyncio.create_task(reader.rows("SELECT pg_sleep(1.9)")) for _ in range(2)]
        await reader_is_busy(pg)
        await told(reader, "SELECT 1", STATEMENT_SECONDS + 0.8)
        await asyncio.gather(*busy, return_exceptions=True)


async def reader_is_busy(pg: Database) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%'"
    async with await psycopg.AsyncConnection.connect(pg.owner, autocommit=True) as owner, asyncio.timeout(5):
        while (row := await (await owner.execute(query)).fetchone()) is None or not row[0]:
            pass


async def test_a_statement_that_takes_too_long_is_told_to_be_narrowed(pg: Database) -> None:
    async with open_reader(pg.read, 1) as reader:
        with pytest.raises(Unavailable, match="narrow"):
            await reader.rows("SELECT pg_sleep(5)")
        assert await reader.rows("SELECT 1") == [(1,)]
