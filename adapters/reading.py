"""Statements that only read, over a pool of connections, each within its time."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool

from adapters.pipeline import Connection
from domain.errors import BadQuery, Unavailable

STATEMENT_SECONDS = 2
SILENT_SECONDS = 4
T = TypeVar("T")
_OPTIONS = (
    f"-c statement_timeout={STATEMENT_SECONDS}s -c default_transaction_read_only=on -c timezone=UTC "
    r"-c default_transaction_isolation=read\ committed"
)


@asynccontextmanager
async def open_reader(dsn: str, most: int = 10) -> AsyncGenerator["Reader", None]:
    """A reader over at most `most` connections, made as they are needed."""
    pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=most,
        timeout=STATEMENT_SECONDS,
        open=False,
        kwargs={
            "autocommit": True,
            "application_name": "tally queries",
            "connect_timeout": SILENT_SECONDS,
            "options": _OPTIONS,
        },
    )
    async with pool:
        yield Reader(pool)


class TooLong(Unavailable):
    """The database answers, but has given the statement up: it took longer than it may, or was cancelled."""


class Reader:
    """Rows of one statement. Raises Unavailable if no answer comes in time (TooLong: the statement is why), BadQuery
    for values that do not fit."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def rows(self, text: str, *parameters: object) -> list[tuple[Any, ...]]:
        """All rows; connections that were lost meanwhile are passed over."""

        async def asked(connection: Connection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(text.encode(), parameters)).fetchall()

        return await self._answered(asked)

    async def at_once(self, read: Callable[[Connection], Awaitable[T]]) -> T:
        """What `read` reads, all its statements as of the same moment; it may be called again."""

        async def asked(connection: Connection) -> T:
            async with connection.transaction():
                await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                return await read(connection)

        return await self._answered(asked)

    async def _answered(self, asked: Callable[[Connection], Awaitable[T]]) -> T:
        clock = asyncio.get_running_loop().time
        last = clock() + STATEMENT_SECONDS
        while True:
            try:
                return await self._once(asked)
            except psycopg.errors.DataError:
                raise BadQuery("cursor or filter: a value in it is not of the kind that is compared") from None
            except psycopg.errors.QueryCanceled:
                raise TooLong(f"the database took longer than {STATEMENT_SECONDS} s: narrow the filter") from None
            except _Lost as lost:
                if clock() >= last:
                    raise Unavailable("the database does not answer") from lost
            except psycopg.OperationalError as error:
                raise Unavailable("the database does not answer") from error

    async def _once(self, asked: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._pool.connection() as connection:
            cut = asyncio.get_running_loop().call_later(SILENT_SECONDS, _cut, connection.fileno())
            try:
                return await asked(connection)
            except psycopg.OperationalError as error:
                if connection.broken:
                    raise _Lost from error
                raise
            finally:
                cut.cancel()


class _Lost(Exception):
    """The connection, not the statement, was the matter: another one may do."""


def _cut(descriptor: int) -> None:
    """Shut a connection whose other end is silent: a cancelled statement would wait for its answer all the same."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)
