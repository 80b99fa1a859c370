"""Every notice is heard, whatever its connection does at the moment."""

import asyncio
from contextlib import suppress

import psycopg
import pytest

from adapters.event_log import connect
from adapters.listening import listen
from tests.support.database import Database

pytestmark = pytest.mark.integration


async def test_notices_are_heard_between_and_during_what_the_connection_is_used_for(pg: Database) -> None:
    heard: list[str] = []
    used, enough = asyncio.Event(), asyncio.Event()
    async with await connect(pg.app, "ears") as ears, await connect(pg.app, "mouth") as mouth, asyncio.timeout(30):
        await ears.execute("LISTEN test")

        async def use() -> None:
            await mouth.execute("NOTIFY test, 'during'")
            await ears.execute("SELECT 1")
            used.set()

        def hear(notice: psycopg.Notify) -> None:
            heard.append(notice.payload)
            if len(heard) >= 3:
                enough.set()

        listening = asyncio.create_task(listen(ears, hear, 0.05, use))
        await mouth.execute("NOTIFY test, 'before'")
        await used.wait()
        await mouth.execute("NOTIFY test, 'after'")
        await enough.wait()
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening

    assert {"before", "during", "after"} <= set(heard)


async def test_a_lost_connection_ends_the_listening(pg: Database) -> None:
    async with await connect(pg.app, "ears") as ears, await connect(pg.owner, "killer") as killer, asyncio.timeout(30):
        pid = ears.info.backend_pid
        listening = asyncio.create_task(listen(ears, lambda _: None, 60, lambda: asyncio.sleep(0)))
        await killer.execute("SELECT pg_terminate_backend(%s)", (pid,))

        with pytest.raises(psycopg.OperationalError):
            await listening
