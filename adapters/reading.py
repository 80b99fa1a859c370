"""Statements that only read, over a pool of connections, each within its time."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from adapters.event_log import Connection
from domain.errors import BadQuery, Unavailable

STATEMENT_SECONDS = 2
_OPTIONS = f"-c statement_timeout={STATEMENT_SECONDS}s -c default_transaction_read_only=on -c timezone=UTC"


@asynccontextmanager
async def open_reader(dsn: str, most: int = 10) -> AsyncGenerator["Reader", None]:
    """A reader over at most `most` connections, made as they are needed."""
    pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=most,
        timeout=STATEMENT_SECONDS,
        open=False,
        kwargs={"autocommit": True, "application_name": "tally queries", "options": _OPTIONS},
    )
    async with pool:
        yield Reader(pool)


class Reader:
    """Rows of one statement. Raises Unavailable if no answer comes in time, BadQuery for values that do not fit."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def rows(self, text: str, *parameters: object) -> list[tuple[Any, ...]]:
        """All rows; a connection that was lost meanwhile is replaced, once."""
        try:
            try:
                return await self._rows(text, parameters)
            except psycopg.errors.QueryCanceled:
                raise
            except psycopg.OperationalError:
                await self._pool.check()
                return await self._rows(text, parameters)
        except psycopg.errors.DataError:
            raise BadQuery("cursor or filter: a value in it is not of the kind that is compared") from None
        except psycopg.errors.QueryCanceled:
            raise Unavailable(f"the database took longer than {STATEMENT_SECONDS} s: narrow the filter") from None
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise Unavailable("the database does not answer") from error

    async def _rows(self, text: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(text.encode(), parameters)
            return await cursor.fetchall()
