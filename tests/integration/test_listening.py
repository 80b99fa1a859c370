"""Every notice is heard, whatever its connection does at the moment, and only by those who will read it."""

import asyncio
import gc
import socket
from contextlib import ExitStack, suppress

import psycopg
import pytest
from psycopg.pq import ConnStatus

from adapters.event_log import connect
from adapters.listening import listen
from adapters.seat import PgSeat, PgTurn
from tests.support.database import Database
from tests.support.waiting import eventually

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


async def test_a_lost_connection_takes_no_reader_from_who_is_given_its_socket_number(pg: Database) -> None:
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    pairs: list[tuple[socket.socket, socket.socket]] = []

    async with await connect(pg.app, "ears") as ears, await connect(pg.owner, "killer") as killer, asyncio.timeout(30):
        number = ears.pgconn.socket

        def connect_anew() -> None:
            if ears.pgconn.status == ConnStatus.OK:
                loop.call_soon(connect_anew)
            else:
                pairs.extend(socket.socketpair() for _ in range(3))
                loop.add_reader(number, heard.set)

        listening = asyncio.create_task(listen(ears, lambda _: None, 60, lambda: asyncio.sleep(0)))
        loop.call_soon(connect_anew)
        await killer.execute("SELECT pg_terminate_backend(%s)", (ears.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            await listening

        with ExitStack() as stack:
            ends = [stack.enter_context(end) for pair in pairs for end in pair]
            assert number in {end.fileno() for end in ends}
            for end in ends:
                end.send(b"x")
            await heard.wait()
            loop.remove_reader(number)


async def test_who_stops_listening_to_a_lost_connection_leaves_no_error_that_nobody_takes(pg: Database) -> None:
    said: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))

    await _lose_and_stop(pg)

    gc.collect()
    assert said == []


async def _lose_and_stop(pg: Database) -> None:
    loop = asyncio.get_running_loop()
    async with await connect(pg.app, "ears") as ears, await connect(pg.owner, "killer") as killer, asyncio.timeout(30):
        listening = asyncio.create_task(listen(ears, lambda _: None, 60, lambda: asyncio.sleep(0)))

        def stop() -> None:
            if ears.pgconn.status == ConnStatus.OK:
                loop.call_soon(stop)
            else:
                listening.cancel()

        loop.call_soon(stop)
        await killer.execute("SELECT pg_terminate_backend(%s)", (ears.info.backend_pid,))
        await asyncio.wait([listening])
        assert listening.cancelled()


async def test_who_stands_by_listens_to_nothing_that_he_would_not_read(pg: Database) -> None:
    async def stand_by() -> None:
        async with PgSeat(pg.app, "follower", PgTurn):
            pass

    async with await connect(pg.owner, "test") as watcher, PgSeat(pg.app, "follower", PgTurn):

        async def backends(name: str, last: str) -> int:
            shown = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND query LIKE %s"
            row = await (await watcher.execute(shown, (name, last))).fetchone()
            return int(row[0]) if row else 0

        async def stands_by() -> bool:
            return await backends("tally follower", "%pg_terminate_backend%") == 1

        standing = asyncio.create_task(stand_by())
        await eventually(stands_by, "a second follower has asked for the seat")
        listening = await backends("tally follower listen", "LISTEN%")
        standing.cancel()

    assert listening == 1
