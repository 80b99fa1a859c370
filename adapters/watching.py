"""To be woken by PostgreSQL: a notification when the log grows, and a look at the views until they have followed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import psycopg

from adapters.event_log import connect
from adapters.query_texts import HEAD

BREATH = 0.02
QUIET = 0.5
AGAIN = 1.0
_POSITIONS = f"SELECT (SELECT coalesce(max(notification_id), 0) FROM events), {HEAD}"


class PgWatch:
    """One listening connection for all who wait in this process."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._news = asyncio.Event()

    async def changed(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._news.wait()

    async def run(self) -> None:
        """Until cancelled. While the database is away, everybody looks for himself once a second."""
        while True:
            with suppress(psycopg.OperationalError):
                await self._listen()
            self._wake()
            await asyncio.sleep(AGAIN)

    async def _listen(self) -> None:
        connection = await connect(self._dsn, "watch")
        async with connection:
            await connection.execute("LISTEN tally_log")
            before: tuple[int, int] | None = None
            while True:
                rows = await (await connection.execute(_POSITIONS.encode())).fetchall()
                now: tuple[int, int] = rows[0][0], rows[0][1]
                if now != before:
                    before = now
                    self._wake()
                # Views follow within milliseconds: look again soon while they are behind, else sleep until told.
                behind = now[1] < now[0]
                async for _ in connection.notifies(timeout=BREATH if behind else QUIET, stop_after=1):
                    pass
                await asyncio.sleep(BREATH / 4)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


@asynccontextmanager
async def open_watch(dsn: str) -> AsyncGenerator[PgWatch]:
    """A watch for as long as the block lasts."""
    watch = PgWatch(dsn)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
