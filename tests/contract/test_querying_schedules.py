"""Questions about schedules, on every store."""

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import datetime

import pytest

from adapters.event_log import append_events, connect
from adapters.in_memory.event_log import MemoryLog, MemorySeat
from adapters.in_memory.queries import MemoryQueries
from adapters.in_memory.views import MemoryViews
from adapters.queries import open_queries
from adapters.seat import PgSeat
from adapters.views import ProjectorPgTurn
from consumers.projector import Project
from domain import events as e
from domain.ports.querying import Queries
from domain.recorded import NewEvent, new_events
from domain.schedule import schedule_stream
from tests.support.ended_tasks import Hands
from tests.support.histories import CAUSE, HELLO, TASK, whole
from tests.support.schedules import HOUR, NOMINAL, S1, scheduled, spec

OURS, BOTH, NOBODY = frozenset({"analytics"}), frozenset({"analytics", "other"}), frozenset[str]()
S2, S3 = schedule_stream("other", "S2"), schedule_stream("other", "S3")
CAROL = replace(CAUSE, actor="carol")
HISTORY: list[NewEvent] = [
    *whole(TASK, HELLO, "analytics"),
    *scheduled(TASK),
    *new_events(S2, 0, "other", [e.ScheduleDefined(schedule_id="S2", spec=spec(interval="PT1H"))], CAROL),
    *new_events(S3, 0, "other", [e.ScheduleDefined(schedule_id="S3", spec=spec(interval="PT1H"))], CAROL),
    *new_events(S3, 1, "other", [e.ScheduleDeleted(schedule_id="S3", by="carol")], CAROL),
]


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def queries(request: pytest.FixtureRequest) -> AsyncGenerator[Queries]:
    if request.param == "memory":
        log, views = MemoryLog(Hands()), MemoryViews()
        log.append(HISTORY)
        seat = MemorySeat(log, "projector", views.turn)
        await Project(seat)(await seat.page(1000))
        yield MemoryQueries(log, views, {})
        return
    pg = request.getfixturevalue("pg")
    async with await connect(pg.app, "test") as connection, connection.transaction():
        await append_events(connection, HISTORY)
    async with PgSeat(pg.app, "projector", ProjectorPgTurn) as follower:
        await Project(follower)(await follower.page(1000))
    async with open_queries(pg.read, 2) as opened:
        yield opened


async def test_schedules_are_listed_by_name_without_those_that_are_gone(queries: Queries) -> None:
    listed = await queries.schedules(BOTH, limit=1)
    assert [one["schedule_id"] for one in json.loads(listed.body)] == ["S1"]
    rest = await queries.schedules(BOTH, cursor=listed.next)
    assert ([one["schedule_id"] for one in json.loads(rest.body)], rest.next) == (["S2"], None)
    assert json.loads((await queries.schedules(NOBODY)).body) == []


async def test_a_schedule_shows_what_it_is_and_is_found_by_name_or_id(queries: Queries) -> None:
    assert await queries.resolve("schedule", "S1", OURS) == S1
    assert await queries.resolve("schedule", str(S1), OURS) == S1
    assert await queries.resolve("schedule", "S1", frozenset({"other"})) is None
    found = await queries.schedule(S1, OURS)

    assert found is not None
    shown = json.loads(found.body)
    assert (shown["status"], shown["changed_by"], found.version) == ("paused", CAUSE.actor, 2)
    assert shown["spec"]["cron"] == "0 * * * *"
    assert await queries.schedule(S1, NOBODY) is None


async def test_the_last_times_of_a_schedule_tell_what_became_of_them(queries: Queries) -> None:
    listed = json.loads((await queries.fires(S1, OURS)).body)

    told = [{name: one[name] for name in ("status", "task", "task_status", "reason", "count", "by")} for one in listed]
    assert [datetime.fromisoformat(one["nominal"]) for one in listed] == [NOMINAL + HOUR, NOMINAL]
    skipped = {"status": "skipped", "task": None, "task_status": None, "reason": "overlap", "count": None, "by": None}
    fired = {
        "status": "fired",
        "task": str(TASK),
        "task_status": "succeeded",
        "reason": None,
        "count": None,
        "by": "trigger",
    }
    assert told == [skipped, fired]
    assert json.loads((await queries.fires(S1, OURS, 1)).body) == listed[:1]
    assert json.loads((await queries.fires(S1, NOBODY)).body) == []
