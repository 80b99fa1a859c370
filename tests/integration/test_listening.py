"""Every notice is heard, whatever its connection does at the moment, and only by those who will read it."""

import asyncio
import gc
import socket
from contextlib import ExitStack

import psycopg
import pytest
from psycopg.pq import ConnStatus
from uuid_utils.compat import uuid7

from adapters.event_log import append_events, connect
from adapters.listening import heard_so_far, listen
from adapters.pipeline import Pipeline
from adapters.seat import PgSeat, PgTurn
from tests.support.database import Database
from tests.support.ended_tasks import succeeded
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


async def test_notices_are_heard_that_come_before_with_answers_and_while_one_waits(pg: Database) -> None:
    heard: list[str] = []
    enough = asyncio.Event()

    def hear(notice: psycopg.Notify) -> None:
        heard.append(notice.payload)
        enough.set()

    async with await connect(pg.app, "ears") as ears, await connect(pg.app, "mouth") as mouth, asyncio.timeout(30):
        pipeline = Pipeline(ears)
        async with pipeline:
            await pipeline.rows("LISTEN test")
        await mouth.execute("NOTIFY test, 'before'")
        async with pipeline:
            await pipeline.rows("SELECT 1")
        heard_so_far(ears, hear)
        assert heard == ["before"]

        await mouth.execute("NOTIFY test, 'with an answer'")
        async with pipeline:
            await pipeline.rows("SELECT 1")
        enough.clear()
        await listen(ears, hear, enough, 60)
        assert heard[1:] == ["with an answer"]

        enough.clear()
        listening = asyncio.create_task(listen(ears, hear, enough, 60))
        await asyncio.sleep(0)
        await mouth.execute("NOTIFY test, 'while one waits'")
        await listening

    assert heard[2:] == ["while one waits"]


async def test_who_hears_nothing_waits_no_longer_than_he_wants_to(pg: Database) -> None:
    async with await connect(pg.app, "ears") as ears, asyncio.timeout(30):
        await listen(ears, lambda _: None, asyncio.Event(), 0.01)


async def test_a_lost_connection_ends_the_listening(pg: Database) -> None:
    async with await connect(pg.app, "ears") as ears, await connect(pg.owner, "killer") as killer, asyncio.timeout(30):
        pid = ears.info.backend_pid
        listening = asyncio.create_task(listen(ears, lambda _: None, asyncio.Event(), 60))
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

        listening = asyncio.create_task(listen(ears, lambda _: None, asyncio.Event(), 60))
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
        listening = asyncio.create_task(listen(ears, lambda _: None, asyncio.Event(), 60))

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
        listening = await backends("tally follower", "LISTEN%")
        standing.cancel()

    assert listening == 1


async def test_a_follower_that_has_much_to_do_does_not_listen_until_it_has_caught_up(pg: Database) -> None:
    async def listens(seat: PgSeat[PgTurn]) -> bool:
        async with seat.turn() as turn:
            return bool(await turn.pipeline.rows("SELECT pg_listening_channels()"))

    async def deal(seat: PgSeat[PgTurn]) -> int:
        page = await seat.page(10)
        async with seat.turn(page.up_to):
            return len(page.events)

    async with (
        await connect(pg.app, "writer") as writer,
        PgSeat(pg.app, "follower", PgTurn, gather=0.5) as seat,
        asyncio.timeout(30),
    ):
        await append_events(writer, succeeded(uuid7()))
        await seat.wait(60)
        once = await deal(seat), await listens(seat)
        await append_events(writer, succeeded(uuid7()))
        await seat.wait(60)
        again = await deal(seat), await listens(seat)
        await append_events(writer, succeeded(uuid7()))
        await seat.wait(60)
        busy = await deal(seat), await listens(seat)
        await seat.wait(60)
        over = await deal(seat), await listens(seat)
        await seat.wait(60)
        at_rest = await deal(seat), await listens(seat)
        await append_events(writer, succeeded(uuid7()))
        await seat.wait(60)
        woken = await deal(seat)

    assert (once, again, busy) == ((2, True), (2, False), (2, False))
    assert (over, at_rest, woken) == ((0, False), (0, True), 2)


async def test_a_wait_that_is_cancelled_costs_a_busy_follower_nothing(pg: Database) -> None:
    async def wait_and_be_cancelled(seat: PgSeat[PgTurn]) -> None:
        waiting = asyncio.create_task(seat.wait(60))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])

    async with (
        await connect(pg.app, "writer") as writer,
        PgSeat(pg.app, "follower", PgTurn, gather=0.5) as seat,
        asyncio.timeout(30),
    ):
        for _ in range(2):
            await append_events(writer, succeeded(uuid7()))
            await seat.wait(60)
            async with seat.turn((await seat.page(10)).up_to):
                pass
        await wait_and_be_cancelled(seat)
        assert not (await seat.page(10)).events
        await wait_and_be_cancelled(seat)
        await append_events(writer, succeeded(uuid7()))

        assert len((await seat.page(10)).events) == 2
