"""The log on PostgreSQL: immutable, in commit order, one follower at a time."""

import asyncio
from contextlib import suppress

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.event_log import append_events, connect
from adapters.reading import open_reader
from adapters.seat import PgSeat, PgTurn
from domain import events as e
from domain.errors import Superseded
from domain.recorded import NewEvent, new_events
from domain.specs import TaskSpec
from tests.support.database import Database
from tests.support.ended_tasks import CAUSE

_LEVEL = "SELECT current_setting('transaction_isolation')"
pytestmark = pytest.mark.integration


def history(length: int) -> list[NewEvent]:
    submitted = e.TaskSubmitted(task_id="T1", spec=TaskSpec(executor="noop"))
    ends: list[e.Event] = [e.LateResultIgnored(task_id="T1", run_id=uuid7(), fence=1, report="run.start.v1")]
    return new_events(uuid7(), 0, "default", [submitted, *ends * (length - 1)], CAUSE)


@pytest.mark.parametrize("change", ["UPDATE events SET topic = 'x'", "DELETE FROM events", "TRUNCATE events"])
@pytest.mark.parametrize("role", ["app", "owner"])
async def test_a_stored_event_is_never_changed(pg: Database, change: str, role: str) -> None:
    async with await connect(pg.app, "test") as connection, connection.transaction():
        await append_events(connection, history(1))

    with psycopg.connect(getattr(pg, role)) as direct, pytest.raises(psycopg.errors.InsufficientPrivilege):
        direct.execute(change.encode())


async def test_no_part_of_the_log_is_ever_truncated_not_even_by_its_owner(pg: Database) -> None:
    with psycopg.connect(pg.app, autocommit=True) as app:
        app.execute("SELECT make_event_partitions(4)")
    with psycopg.connect(pg.owner, autocommit=True) as owner:
        owner.execute("SET ROLE tally_owner")
        rows = owner.execute("SELECT relid::text FROM pg_partition_tree('events') WHERE isleaf").fetchall()
        for (partition,) in rows:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="events are never changed"):
                owner.execute(f"TRUNCATE {partition}".encode())
    assert {"events_default", "events_endless"} < {name for (name,) in rows}
    assert len(rows) >= 2 + 5


async def test_whoever_only_reads_runs_nothing_with_its_owners_rights(pg: Database) -> None:
    with psycopg.connect(pg.read, autocommit=True) as reader:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("SELECT make_event_partitions()")
        rows = reader.execute(
            "SELECT proname, has_function_privilege(oid, 'EXECUTE') FROM pg_proc "
            "WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        ).fetchall()
    assert {name for name, _ in rows} >= {"make_event_partitions", "begin_rebuild"}
    assert [name for name, allowed in rows if allowed] == []


async def test_a_month_of_which_the_default_partition_holds_events_stays_there(pg: Database) -> None:
    with psycopg.connect(pg.owner, autocommit=True) as owner:
        rows = owner.execute(
            "SELECT to_char(now() AT TIME ZONE 'UTC' + make_interval(months => m), '\"events_\"YYYY_MM') "
            "FROM unnest(ARRAY[0, 1]) AS m"
        ).fetchall()
        this_month, next_month = (name for (name,) in rows)
        owner.execute(f"DROP TABLE {this_month}, {next_month}".encode())
    async with await connect(pg.app, "test") as connection:
        async with connection.transaction():
            await append_events(connection, history(1))

        made = await (await connection.execute("SELECT make_event_partitions()")).fetchone()

        async with connection.transaction():
            await append_events(connection, history(1))
    with psycopg.connect(pg.owner) as owner:
        there = owner.execute(
            "SELECT to_regclass(%s) IS NULL, to_regclass(%s) IS NOT NULL, "
            "(SELECT count(*) FROM events_default), (SELECT count(*) FROM events)",
            (this_month, next_month),
        ).fetchone()
    assert (made, there) == ((1,), (True, True, 2, 2))


async def test_a_reader_never_misses_an_event_while_many_write(pg: Database) -> None:
    writers, rounds, length = 6, 25, 4
    total = writers * rounds * length

    async def write() -> None:
        async with await connect(pg.app, "writer") as connection:
            for _ in range(rounds):
                async with connection.transaction():
                    await append_events(connection, history(length))

    async def read() -> list[int]:
        seen: list[int] = []
        async with PgSeat(pg.app, "reader", PgTurn) as seat, asyncio.timeout(60):
            while len(seen) < total:
                page = await seat.page(7)
                async with seat.turn(page.up_to):
                    pass
                seen += [recorded.position for recorded in page.events]
                if not page.events:
                    await seat.wait(1.0)
        return seen

    reading = asyncio.create_task(read())
    await asyncio.gather(*(write() for _ in range(writers)))
    seen = await reading

    assert seen == sorted(set(seen))
    assert len(seen) == total


async def test_positions_are_given_in_the_order_of_commits(pg: Database) -> None:
    async with await connect(pg.app, "first") as first, await connect(pg.app, "second") as second:
        begun = asyncio.Event()

        async def slow() -> int:
            async with first.transaction():
                appended = await append_events(first, history(1))
                begun.set()
                await wait_for_lock(second_pid)
            return appended.positions[0]

        async def wait_for_lock(pid: int) -> None:
            async with await connect(pg.owner, "watch") as watch, asyncio.timeout(10):
                while True:
                    cursor = await watch.execute(
                        "SELECT 1 FROM pg_locks WHERE pid = %s AND locktype = 'advisory' AND NOT granted", (pid,)
                    )
                    if await cursor.fetchone():
                        return

        async def fast() -> int:
            await begun.wait()
            async with second.transaction():
                appended = await append_events(second, history(1))
            return appended.positions[0]

        second_pid = second.info.backend_pid
        earlier, later = await asyncio.gather(slow(), fast())

    assert earlier < later


async def test_a_writer_that_falls_silent_holds_the_log_only_until_the_server_ends_it(pg: Database) -> None:
    impatient = f"{pg.app}?options=-c%20idle_in_transaction_session_timeout%3D300ms"
    async with (
        await connect(pg.app, "patient") as usual,
        await connect(impatient, "silent") as silent,
        await connect(pg.app, "next") as following,
    ):
        begun = asyncio.Event()

        async def fall_silent() -> None:
            async with silent.transaction():
                await append_events(silent, history(1))
                begun.set()
                await asyncio.Event().wait()

        silence = asyncio.create_task(fall_silent())
        await begun.wait()
        async with asyncio.timeout(20), following.transaction():
            appended = await append_events(following, history(1))
        silence.cancel()
        with suppress(asyncio.CancelledError, psycopg.OperationalError):
            await silence
        limit = await (await usual.execute("SHOW idle_in_transaction_session_timeout")).fetchone()

    assert len(appended.positions) == 1
    assert limit == ("30s",)


async def test_a_standby_takes_over_when_the_holder_is_gone(pg: Database) -> None:
    async with PgSeat(pg.app, "projector", PgTurn) as first:
        standby = asyncio.create_task(PgSeat(pg.app, "projector", PgTurn).__aenter__())
        async with first.turn(7):
            pass
        done, _ = await asyncio.wait([standby], timeout=1.5)
        assert not done

    second = await asyncio.wait_for(standby, 10)
    assert second.position == 7
    await second.__aexit__()


async def test_a_holder_that_does_not_stamp_is_ended_and_replaced(pg: Database) -> None:
    async with await connect(pg.owner, "operator") as operator:
        first = await PgSeat(pg.app, "projector", PgTurn).__aenter__()
        stamping = [task for task in asyncio.all_tasks() if task.get_name() == "stamp projector"]
        for task in stamping:
            task.cancel()
        await operator.execute("UPDATE consumers SET stamped_at = now() - interval '11 seconds'")

        async with asyncio.timeout(10), PgSeat(pg.app, "projector", PgTurn):
            with pytest.raises((psycopg.OperationalError, Superseded)):
                async with first.turn():
                    pass


async def test_a_follower_that_can_no_longer_stamp_its_seat_ends(pg: Database) -> None:
    async with PgSeat(pg.app, "projector", PgTurn) as seat, await connect(pg.owner, "operator") as operator:
        await operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tally projector stamp'"
        )

        async def wait() -> None:
            while True:
                await seat.wait(0.05)

        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(wait(), 10)


async def test_a_turn_that_was_overtaken_changes_nothing(pg: Database) -> None:
    async with PgSeat(pg.app, "projector", PgTurn) as seat, await connect(pg.owner, "thief") as thief:
        await thief.execute("UPDATE consumers SET turn = turn + 1")

        with pytest.raises(Superseded):
            async with seat.turn(9):
                pass

        cursor = await thief.execute("SELECT position FROM consumers")
        assert await cursor.fetchone() == (0,)


async def test_a_filtered_page_passes_over_what_it_does_not_want(pg: Database) -> None:
    async with await connect(pg.app, "writer") as connection, PgSeat(pg.app, "narrow", PgTurn) as seat:
        async with connection.transaction():
            appended = await append_events(connection, history(3))

        page = await seat.page(10, ["task.failed.v1"])

    assert (list(page.events), page.up_to) == ([], appended.positions[-1])


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
async def test_the_isolation_of_its_transactions_is_the_platform_s_own_whatever_the_database_s_default(
    pg: Database, level: str
) -> None:
    with psycopg.connect(pg.owner, autocommit=True) as owner:
        owner.execute(f"ALTER DATABASE {owner.info.dbname} SET default_transaction_isolation = '{level}'".encode())
    with psycopg.connect(pg.app) as plain:
        default = plain.execute("SHOW transaction_isolation").fetchall()
    found: list[str] = []
    async with await connect(pg.app, "test") as connection, PgSeat(pg.app, "test", PgTurn) as seat:
        found += (await (await connection.execute(_LEVEL)).fetchone()) or ()
        async with connection.transaction():
            found += (await (await connection.execute(_LEVEL)).fetchone()) or ()
        async with seat.turn() as turn:
            found += (await turn.pipeline.rows(_LEVEL))[0]
    async with open_reader(pg.read) as reader:
        found += (await reader.rows(_LEVEL))[0]

    assert default == [(level,)]
    assert found == ["read committed"] * 4


@pytest.mark.parametrize("detail", ["", ", DETAIL = 'Reason code: Canceled on identification as a pivot.'"])
async def test_a_transaction_that_postgresql_itself_gives_up_is_not_taken_for_streams_that_have_moved(
    pg: Database, detail: str
) -> None:
    failure = f"DO $$ BEGIN RAISE 'could not serialize access' USING ERRCODE = '40001'{detail}; END $$"
    async with PgSeat(pg.app, "test", PgTurn) as seat:
        with pytest.raises(psycopg.errors.SerializationFailure):
            async with seat.turn() as turn:
                turn.pipeline.send(failure.encode())

        async with seat.turn(7):
            pass
        assert seat.position == 7
