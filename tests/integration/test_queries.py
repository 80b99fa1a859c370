"""What only a real database shows of the queries: times, beats, its limits, and its ends."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from adapters.queries import open_queries
from adapters.reading import open_reader
from adapters.rebuild import open_rebuild
from adapters.seat import PgSeat
from adapters.views import ProjectorPgTurn
from consumers.projector import Project
from consumers.rebuilding import rebuild
from domain import events as e
from domain.errors import BadQuery, Unavailable
from domain.ids import child_name, child_stream, derived_id
from domain.messages import Cause
from domain.ports.querying import TaskFilter
from domain.recorded import new_events
from domain.views import VIEWS
from tests.integration.test_projector import append
from tests.support.database import Database
from tests.support.histories import TASK, TASK_2, WORKER, leased, queued, registered, run_id, submitted, whole

pytestmark = pytest.mark.integration
ALL = None
NOW = datetime.now(UTC)
CAUSE = Cause("chain", "command", "alice")


async def project(pg: Database) -> None:
    async with PgSeat(pg.app, "projector", ProjectorPgTurn) as seat:
        await Project(seat)(await seat.page(1000))


def execute(dsn: str, statement: str, *parameters: object) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(statement.encode(), parameters)


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"created_after": NOW - timedelta(hours=1)}, 1),
        ({"created_after": NOW + timedelta(hours=1)}, 0),
        ({"created_before": NOW + timedelta(hours=1)}, 1),
        ({"created_before": NOW - timedelta(hours=1)}, 0),
        ({"created_after": NOW - timedelta(hours=1), "created_before": NOW + timedelta(hours=1)}, 1),
    ],
)
async def test_a_list_is_bounded_by_the_times_of_submission(pg: Database, asked: dict[str, Any], count: int) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)
    task = derived_id(TASK.__class__(int=now << 80), "task")
    await append(pg.app, whole(task))
    await project(pg)

    async with open_queries(pg.read) as queries:
        assert (await queries.tasks(TaskFilter(ALL, **asked))).count == count


async def assert_created_now(pg: Database) -> None:
    """By the bounds of a list, the one task there is was created within an hour of now."""
    hour = timedelta(hours=1)
    async with open_queries(pg.read) as queries:
        assert (await queries.tasks(TaskFilter(ALL, created_after=NOW - hour))).count == 1
        assert (await queries.tasks(TaskFilter(ALL, created_after=NOW + hour))).count == 0
        assert (await queries.tasks(TaskFilter(ALL, created_before=NOW - hour))).count == 0
        assert (await queries.tasks(TaskFilter(ALL, created_before=NOW + hour))).count == 1


async def test_a_child_is_found_by_the_time_of_its_own_submission_however_long_its_parent_has_waited(
    pg: Database,
) -> None:
    week_ago = int((NOW - timedelta(days=7)).timestamp() * 1000)
    parent = derived_id(TASK.__class__(int=week_ago << 80), "task")
    child = child_stream(parent, 0)
    of = e.ChildOf(task_id="each", stream=parent, index=0)
    first = submitted(name=child_name("each", 0)).model_copy(update={"child_of": of})
    await append(pg.app, new_events(child, 0, "analytics", [first, queued(first.task_id)], CAUSE))
    await project(pg)

    await assert_created_now(pg)


async def test_a_task_is_found_by_the_time_of_its_submission_however_long_before_its_name_was_promised(
    pg: Database,
) -> None:
    week_ago = int((NOW - timedelta(days=7)).timestamp() * 1000)
    promised = derived_id(TASK.__class__(int=week_ago << 80), "task")
    await append(pg.app, new_events(promised, 0, "analytics", [submitted(), queued()], CAUSE))
    await project(pg)

    await assert_created_now(pg)


async def test_a_worker_is_shown_with_its_last_beat_and_what_it_holds_in_these_namespaces(pg: Database) -> None:
    await append(pg.app, new_events(WORKER, 0, "_", [registered()], CAUSE))
    for task, namespace in ((TASK, "analytics"), (TASK_2, "other")):
        events: list[e.Event] = [submitted(), queued(), leased(task=task)]
        await append(pg.app, new_events(task, 0, namespace, events, CAUSE))
        execute(
            pg.app,
            "INSERT INTO leases (run_id, fence, task, worker_id, generation, until) VALUES (%s, 1, %s, 'W1', 1, 99)",
            run_id(task=task),
            task,
        )
    execute(
        pg.app,
        "INSERT INTO worker_beats (worker_id, generation, beat, received_at, heard) "
        "VALUES ('W1', 1, 812, now() - interval '5 s', 0)",
    )
    await project(pg)

    async with open_queries(pg.read) as queries:
        found = await queries.worker("W1", frozenset({"analytics"}))

    assert found is not None
    shown = json.loads(found.body)
    assert [held["task"] for held in shown["held"]] == [str(TASK)]
    assert shown["last_beat"]["beat"] == 812
    assert 5 <= shown["last_beat"]["age_seconds"] < 60


async def test_a_follower_that_is_behind_shows_by_how_much(pg: Database) -> None:
    await append(pg.app, whole(TASK))
    await project(pg)
    await append(pg.app, whole(TASK_2))

    async with open_queries(pg.read) as queries:
        (row,) = json.loads((await queries.projections()).body)

    assert (row["position"], row["lag"]) == (6, 6)
    assert row["lag_seconds"] >= 0


async def test_a_question_that_takes_too_long_is_broken_off(pg: Database) -> None:
    async with open_reader(pg.read) as reader:
        with pytest.raises(Unavailable, match="longer than 2 s"):
            await reader.rows("SELECT pg_sleep(10)")
        assert await reader.rows("SELECT 1") == [(1,)]


async def test_readers_cannot_write(pg: Database) -> None:
    async with open_reader(pg.app) as reader:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await reader.rows("UPDATE tasks SET status = 'failed'")


async def test_values_of_another_kind_are_a_bad_query(pg: Database) -> None:
    async with open_reader(pg.read) as reader:
        with pytest.raises(BadQuery):
            await reader.rows("SELECT %s::uuid", "none")


async def test_connections_that_were_lost_are_replaced(pg: Database) -> None:
    async with open_queries(pg.read, 2) as queries:
        await asyncio.gather(*(queries.head() for _ in range(4)))
        execute(
            pg.owner,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'tally queries' AND datname = current_database()",
        )

        assert await queries.head() == 0


async def test_answers_go_on_through_a_rebuild(pg: Database) -> None:
    await append(pg.app, whole(TASK))
    await project(pg)
    async with open_queries(pg.read, 1) as queries:
        before = [await queries.task(TASK, ALL) for _ in range(8)]  # from the sixth on as a prepared statement
        async with open_rebuild(pg.app, list(VIEWS)) as target:
            await rebuild(target)
        after = await queries.task(TASK, ALL)

    assert before == [after] * 8
