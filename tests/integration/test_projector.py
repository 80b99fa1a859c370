"""The projector on a real log: under load, after a crash, beside a rebuild, and beside a second one."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.event_log import COLUMNS as EVENT_COLUMNS
from adapters.event_log import append_events, connect, recorded
from adapters.pipeline import Pipeline
from adapters.rebuild import open_rebuild
from adapters.seat import PgSeat
from adapters.views import PgViewRows, ProjectorPgTurn
from consumers.following import follow
from consumers.projector import PAGE, Project, project
from consumers.rebuilding import rebuild
from domain import events as e
from domain.errors import Superseded, Unavailable
from domain.recorded import NewEvent, Recorded, new_events
from domain.task_view import TaskView
from domain.views import VIEWS, Rows, by_row, facts
from tests.support.database import Database
from tests.support.histories import CAUSE, HELLO, TASK, TASK_2, folded, submitted, whole
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


@dataclass(frozen=True, slots=True)
class Shown:
    """What a database holds: its log, its rows, the projector's position."""

    dsn: str

    async def log(self) -> list[Recorded]:
        async with await connect(self.dsn, "test") as connection, connection.cursor(binary=True) as cursor:
            await cursor.execute(f"SELECT {EVENT_COLUMNS} FROM events ORDER BY notification_id".encode())
            return [recorded(row) for row in await cursor.fetchall()]

    async def rows(self) -> dict[str, Rows]:
        """The rows of all streams in the log, whatever their position."""
        said = facts(await self.log())
        async with await connect(self.dsn, "test") as connection, Pipeline(connection).transaction() as pipeline:
            return await PgViewRows(pipeline).rows({view: list(by_row(VIEWS[view], said)) for view in VIEWS})

    async def position(self) -> int:
        async with await connect(self.dsn, "test") as connection:
            cursor = await connection.execute("SELECT max(position) FROM consumers WHERE name = 'projector'")
            row = await cursor.fetchone()
        return int(row[0] or 0) if row else 0


async def append(dsn: str, events: Sequence[NewEvent]) -> None:
    async with await connect(dsn, "test") as connection, connection.transaction():
        await append_events(connection, events)


@asynccontextmanager
async def projecting(dsn: str) -> AsyncGenerator[PgSeat[ProjectorPgTurn]]:
    """A live projector."""
    stop = asyncio.Event()
    async with PgSeat(dsn, "projector", ProjectorPgTurn) as seat:
        following = asyncio.create_task(follow(seat, Project(seat), stop, limit=PAGE))
        try:
            yield seat
        finally:
            stop.set()
            await following


@asynccontextmanager
async def submitting(dsn: str, enough: asyncio.Event) -> AsyncGenerator[list[UUID]]:
    """Tasks whose events keep coming, ten tasks at a time and one event of each a transaction."""
    tasks: list[UUID] = []

    async def go_on() -> None:
        async with await connect(dsn, "test") as connection:
            while not enough.is_set():
                histories = [whole(uuid7()) for _ in range(10)]
                tasks.extend(history[0].stream for history in histories)
                for step in zip(*histories, strict=True):
                    async with connection.transaction():
                        await append_events(connection, step)

    going = asyncio.create_task(go_on())
    try:
        yield tasks
    finally:
        enough.set()
        await going


async def caught_up(shown: Shown) -> None:
    async def is_there() -> bool:
        return await shown.position() >= (await shown.log())[-1].position

    await eventually(is_there, "the projector is at the end of the log", 20)


async def test_a_rebuild_under_load_gives_the_rows_of_the_log_and_the_projector_goes_on(pg: Database) -> None:
    shown, enough = Shown(pg.app), asyncio.Event()
    async with projecting(pg.app), submitting(pg.app, enough) as tasks:

        async def many() -> bool:
            return len(tasks) >= 100

        await eventually(many, "100 tasks have been submitted")
        async with open_rebuild(pg.app, list(VIEWS)) as target:
            first = await rebuild(target)
        seen = len(tasks)

        async def more() -> bool:
            return len(tasks) >= seen + 50

        await eventually(more, "50 tasks more have been submitted")
        async with open_rebuild(pg.app, ["tasks"]) as target:
            second = await rebuild(target)
        enough.set()
        await caught_up(shown)

    assert first.differing == {view: frozenset() for view in VIEWS}
    assert second.differing == {"tasks": frozenset()}
    assert second.position > first.position
    log, rows = await shown.log(), await shown.rows()
    assert rows == {view: folded(view, log) for view in VIEWS}
    assert len(rows["tasks"]) == len(tasks)


async def test_a_rebuilt_table_is_like_the_one_it_replaces(pg: Database) -> None:
    before = _shape(pg.owner)
    async with open_rebuild(pg.app, list(VIEWS)) as target:
        await rebuild(target)

    assert _shape(pg.owner) == before


async def test_what_a_broken_off_rebuild_leaves_is_dropped(pg: Database) -> None:
    await append(pg.app, whole(TASK))
    async with open_rebuild(pg.app, ["tasks"]) as target:
        await target.begin()

    with psycopg.connect(pg.owner) as connection:
        left = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'rebuild'").fetchone()
    assert left == (0,)


async def test_only_one_rebuild_runs_at_a_time(pg: Database) -> None:
    async with open_rebuild(pg.app, ["tasks"]) as one, open_rebuild(pg.app, ["runs"]) as two:
        await one.begin()
        with pytest.raises(Unavailable, match="another rebuild"):
            await two.begin()


async def test_a_projector_killed_in_its_turn_leaves_all_or_nothing_and_the_next_one_goes_on(pg: Database) -> None:
    shown = Shown(pg.app)
    await append(pg.app, whole(TASK))
    async with PgSeat(pg.app, "projector", ProjectorPgTurn) as seat:
        page = await seat.page(3)
        await Project(seat)(page)
        await _killed_before_commit(seat, pg)
    rows = await shown.rows()
    assert rows["tasks"] == folded("tasks", page.events)
    assert await shown.position() == 3

    async with projecting(pg.app):
        await caught_up(shown)
    assert (await shown.rows())["tasks"] == folded("tasks", await shown.log())


async def test_a_projector_that_lost_its_turn_changes_nothing(pg: Database) -> None:
    shown = Shown(pg.app)
    await append(pg.app, whole(TASK))
    async with PgSeat(pg.app, "projector", ProjectorPgTurn) as seat:
        page = await seat.page(1000)
        with psycopg.connect(pg.app, autocommit=True) as other:
            other.execute("UPDATE consumers SET turn = turn + 1 WHERE name = 'projector'")
        with pytest.raises(Superseded):
            await Project(seat)(page)

    assert (await shown.rows())["tasks"] == {}
    assert await shown.position() == 0


async def test_characters_that_postgresql_has_not_stop_no_projector(pg: Database) -> None:
    labelled = HELLO.model_copy(update={"labels": {"team": "a\x00b"}})
    end = e.TaskFailed(task_id="T1", reason="a\x00b", runs=0)
    await append(pg.app, new_events(TASK_2, 0, "default", [submitted(labelled), end], CAUSE))

    async with projecting(pg.app):
        await caught_up(Shown(pg.app))

    shown = "a\N{REPLACEMENT CHARACTER}b"
    row = (await Shown(pg.app).rows())["tasks"][TASK_2]
    assert isinstance(row, TaskView)
    assert (row.reason, row.labels) == (shown, {"team": shown})


async def _killed_before_commit(seat: PgSeat[ProjectorPgTurn], pg: Database) -> None:
    page = await seat.page(1000)
    with suppress(psycopg.OperationalError):
        async with seat.turn(page.up_to) as turn:
            await project(turn, page.events, list(VIEWS))
            with psycopg.connect(pg.owner, autocommit=True) as killer:
                killer.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'tally projector' AND datname = current_database()"
                )


def _shape(owner: str) -> list[tuple[object, ...]]:
    """Columns, indexes, grants and settings of the views' tables."""
    with psycopg.connect(owner) as connection:
        return connection.execute(
            "SELECT c.relname, c.reloptions, c.relacl::text, c.relowner::regrole::text, "
            "(SELECT array_agg((a.attname, a.atttypid, a.attnotnull)::text ORDER BY a.attnum) FROM pg_attribute a "
            " WHERE a.attrelid = c.oid AND a.attnum > 0), "
            "(SELECT array_agg(d ORDER BY d) FROM pg_index i, pg_get_indexdef(indexrelid) d WHERE indrelid = c.oid) "
            "FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%s) ORDER BY 1",
            (list(VIEWS),),
        ).fetchall()


async def test_what_a_cancelled_rebuild_leaves_is_dropped(pg: Database) -> None:
    begun = asyncio.Event()

    async def break_off() -> None:
        async with open_rebuild(pg.app, ["tasks"]) as target:
            await target.begin()
            async with target.beside() as beside:
                begun.set()
                await beside.compare("tasks", 0)
                await asyncio.Event().wait()

    breaking = asyncio.create_task(break_off())
    await begun.wait()
    breaking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await breaking

    with psycopg.connect(pg.owner) as connection:
        left = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'rebuild'").fetchone()
    assert left == (0,)
