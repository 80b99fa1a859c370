"""What every place to ask promises: the filters, the pages, and that nothing outside the namespaces is seen."""

import asyncio
import json
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
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
from domain.errors import AmbiguousId, BadQuery
from domain.limit import limit_stream
from domain.messages import Json
from domain.placing import Rate
from domain.ports.handling import CommandKey, Outcome
from domain.ports.querying import SORTS, Allowed, EventFilter, Listed, Queries, Read, TaskFilter
from domain.recorded import NewEvent, new_events
from domain.specs import DependsOn, TaskSpec
from domain.task_type import type_stream
from domain.type_specs import Definition
from domain.work import Reply
from tests.support import database
from tests.support.ended_tasks import Hands
from tests.support.histories import (
    CAUSE,
    HELLO,
    NOW,
    TASK,
    TASK_2,
    TASK_3,
    TRACE,
    WORKER,
    WORKFLOW,
    leased,
    queued,
    registered,
    run_id,
    submitted,
    whole,
)
from tests.support.stack import Servers

TASK_4 = UUID("0193f2a3-5c7e-7a10-8f00-3d1c5a9b7e04")
COMMAND = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7c01")
OURS = frozenset({"analytics"})
BOTH = frozenset({"analytics", "other"})
NOBODY = frozenset[str]()
OTHER_CAUSE = replace(CAUSE, correlation_id="other-chain", actor="carol")

URGENT = TaskSpec(
    task_id="T2",
    name="urgent",
    executor="noop",
    priority=9,
    labels={"team": "ops", "tier": "1"},
    depends_on=(DependsOn(task_id="T1"),),
)
SLEEP = TaskSpec(task_id="T4", name="asleep", task_type="sleep", input={"seconds": 1})
LOAD = submitted(
    URGENT, "T2", workflow_id="F1", workflow=str(WORKFLOW), depends_on=[{"task_id": "T1", "stream": str(TASK)}]
)
BLOCKED = e.TaskBlocked(task_id="T2", by=(e.Blocker(task_id="T1"),))
GRAPH = e.WorkflowSubmitted(
    workflow_id="F1",
    tasks=(e.Node(task_id="T1", stream=TASK), e.Node(task_id="T2", stream=TASK_2, depends_on=("T1",))),
)
SCHEMA: dict[str, Json] = {"properties": {"b": {"const": None}, "a": {"default": "\0"}}}
NINE = Rate(starts=9, per=timedelta(seconds=90))


def limit(scope: str, most: int | None = None, rate: Rate | None = None, by: str = "alice") -> e.LimitChanged:
    return e.LimitChanged(scope=scope, max_running=most, rate=rate, by=by)


def types(namespace: str, name: str, *versions: Definition | None) -> list[NewEvent]:
    """A type that was put, or removed, so often."""
    events: list[e.Event] = []
    for number, one in enumerate(versions, start=1):
        put = one and e.TaskTypeChanged(task_type=name, number=number, definition=one, by="alice")
        events.append(put or e.TaskTypeRemoved(task_type=name, number=number - 1, by="bob"))
    return new_events(type_stream(namespace, name), 0, namespace, events, CAUSE)


def limits(namespace: str, *events: e.LimitChanged) -> list[NewEvent]:
    return new_events(limit_stream(events[0].scope), 0, namespace, events, CAUSE)


HISTORY: list[NewEvent] = [
    *whole(TASK, HELLO, "analytics"),
    *new_events(WORKFLOW, 0, "analytics", [GRAPH], CAUSE),
    *new_events(TASK_2, 0, "analytics", [LOAD, BLOCKED], CAUSE),
    *new_events(TASK_3, 0, "other", [submitted(HELLO), queued(), leased(task=TASK_3)], OTHER_CAUSE),
    *new_events(TASK_4, 0, "analytics", [submitted(SLEEP, "T4"), queued("T4")], CAUSE),
    *new_events(WORKER, 0, "_", [registered()], CAUSE),
    *limits("analytics", limit("namespace:analytics", 5), limit("namespace:analytics", rate=NINE, by="bob")),
    *limits("default", limit("pool:gpu", 2)),
    *limits("other", limit("key:other/k", 3)),
    *limits("analytics", limit("key:analytics/gone", 1), limit("key:analytics/gone")),
    *types("analytics", "bake", Definition(image="busybox:1"), Definition(image="busybox:2", input_schema=SCHEMA)),
    *types("analytics", "gone", Definition(image="busybox"), None),
    *types("other", "bake", Definition(image="other")),
]
NAMES = [
    ("analytics", "task", "T1", TASK),
    ("analytics", "task", "T2", TASK_2),
    ("other", "task", "T1", TASK_3),
    ("analytics", "task", "T4", TASK_4),
    ("analytics", "workflow", "F1", WORKFLOW),
]
REPLY = Reply(command_id=COMMAND, outcome="accepted", task_id="T1", id=TASK, version=1)


@pytest.fixture(scope="module")
def filled(servers: Servers, pg_template: str) -> Generator[str]:
    """The DSN of a database that holds HISTORY and is only read."""
    with database.copy_of(servers.postgres(), pg_template) as copy:
        with ThreadPoolExecutor(1) as beside:  # it is asked for while a test's own loop runs
            beside.submit(lambda: asyncio.run(_fill(copy.app))).result()
        yield copy.read


async def _fill(dsn: str) -> None:
    async with await connect(dsn, "test") as connection, connection.transaction():
        await append_events(connection, HISTORY)
    async with PgSeat(dsn, "projector", ProjectorPgTurn) as seat:
        await Project(seat)(await seat.page(1000))
    with psycopg.connect(dsn) as writer:
        for name in NAMES:
            writer.execute("INSERT INTO names VALUES (%s, %s, %s, %s, 'digest')", name)
        writer.execute("INSERT INTO names VALUES ('other', 'task', 'T2', gen_random_uuid(), '')")
        writer.execute(
            "INSERT INTO inbox (command_id, principal, digest, type, reply, stream, version) "
            "VALUES (%s, 'alice', '', 'task.submit.v1', %s, %s, 1)",
            (COMMAND, REPLY.body().decode(), TASK),
        )


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def queries(request: pytest.FixtureRequest) -> AsyncGenerator[Queries]:
    if request.param == "memory":
        log, views = MemoryLog(Hands()), MemoryViews()
        log.append(HISTORY)
        seat = MemorySeat(log, "projector", views.turn)
        await Project(seat)(await seat.page(1000))
        outcome = Outcome(CommandKey(COMMAND, "alice"), b"", "task.submit.v1", REPLY, TASK, 1)
        yield MemoryQueries(log, views, {outcome.key: outcome})
        return
    async with open_queries(request.getfixturevalue("filled"), 2) as opened:
        yield opened


def ids(listed: Listed | Read | None) -> list[UUID]:
    assert listed is not None
    return [UUID(row["id"]) for row in json.loads(listed.body)]


async def found(queries: Queries, allowed: Allowed = OURS, **asked: Any) -> list[UUID]:
    return ids(await queries.tasks(TaskFilter(allowed, **asked)))


FILTERS: list[tuple[dict[str, Any], list[UUID]]] = [
    ({}, [TASK_4, TASK_2, TASK]),
    ({"allowed": BOTH}, [TASK_4, TASK_3, TASK_2, TASK]),
    ({"allowed": None}, [TASK_4, TASK_3, TASK_2, TASK]),
    ({"allowed": NOBODY}, []),
    ({"status": ["succeeded"]}, [TASK]),
    ({"status": ["completed"]}, [TASK]),
    ({"status": ["pending"]}, [TASK_4, TASK_2]),
    ({"status": ["blocked", "completed"]}, [TASK_2, TASK]),
    ({"name": "urgent"}, [TASK_2]),
    ({"labels": {"team": "ops"}}, [TASK_2]),
    ({"labels": {"team": "ops", "tier": "2"}}, []),
    ({"labels": {"team": None}}, [TASK_2, TASK]),
    ({"labels": {"team": None, "tier": "1"}}, [TASK_2]),
    ({"worker": "W1"}, [TASK]),
    ({"worker": "W1", "allowed": BOTH}, [TASK_3, TASK]),
    ({"task_type": "sleep"}, [TASK_4]),
    ({"workflow": "F1"}, [TASK_2]),
    ({"workflow": str(WORKFLOW)}, [TASK_2]),
    ({"workflow": "F1", "allowed": frozenset({"other"})}, []),
    ({"sort": "created_at"}, [TASK, TASK_2, TASK_4]),
    ({"sort": "-priority"}, [TASK_2, TASK_4, TASK]),
    ({"sort": "priority"}, [TASK, TASK_4, TASK_2]),
    ({"sort": "name"}, [TASK_4, TASK, TASK_2]),
    ({"sort": "-created_at", "offset": 1, "limit": 1}, [TASK_2]),
]


@pytest.mark.parametrize(("asked", "expected"), FILTERS)
async def test_filters_narrow_and_namespaces_bound(
    queries: Queries, asked: dict[str, Any], expected: list[UUID]
) -> None:
    assert await found(queries, **asked) == expected


@pytest.mark.parametrize("sort", [way + sort for sort in SORTS for way in ("", "-")])
async def test_pages_follow_each_other_without_gap_or_repeat(queries: Queries, sort: str) -> None:
    everything = await found(queries, allowed=BOTH, sort=sort)
    pages, cursor = list[UUID](), None
    while True:
        listed = await queries.tasks(TaskFilter(BOTH, sort=sort, limit=1, cursor=cursor))
        pages += ids(listed)
        cursor = listed.next
        if cursor is None:
            break

    assert pages == everything
    assert len(pages) == 4


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"sort": "size"}, "sort: size"),
        ({"status": ["done"]}, "status: done"),
        ({"limit": 0}, "limit: 0"),
        ({"limit": 501}, "limit: 501"),
        ({"offset": -1}, "offset: -1"),
        ({"cursor": "!"}, "cursor: it was not given out"),
        ({"cursor": "W10"}, "cursor: it was not given out"),
    ],
)
async def test_a_question_that_makes_no_sense_is_told_so(queries: Queries, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(BadQuery, match=says):
        await found(queries, **asked)


async def test_a_cursor_belongs_to_its_sort(queries: Queries) -> None:
    listed = await queries.tasks(TaskFilter(OURS, limit=1))

    with pytest.raises(BadQuery, match="-created_at"):
        await found(queries, cursor=listed.next, sort="name")


async def test_a_task_shows_all_that_is_known_of_it(queries: Queries) -> None:
    task = await queries.task(TASK_2, OURS)

    assert task is not None
    assert (task.version, task.position, task.head) == (2, 9, len(HISTORY))
    shown = json.loads(task.body)
    assert shown["depends_on"] == [{"task_id": "T1", "id": str(TASK), "when": "succeeded"}]
    assert shown["spec"]["priority"] == 9
    assert shown["labels"] == {"team": "ops", "tier": "1"}
    expected = {"task_id": "T2", "status": "blocked", "workflow_id": "F1", "trace_id": TRACE, "result": None}
    assert {name: shown[name] for name in expected} == expected


async def test_lists_leave_out_what_is_long(queries: Queries) -> None:
    (shown,) = json.loads((await queries.tasks(TaskFilter(OURS, name="urgent"))).body)

    assert not {"spec", "result", "depends_on"} & shown.keys()
    assert shown["runs"] == 0


@pytest.mark.parametrize("allowed", [OURS, NOBODY])
async def test_what_is_foreign_looks_like_what_is_unknown(queries: Queries, allowed: frozenset[str]) -> None:
    for stream in (TASK_3, COMMAND):
        assert await queries.task(stream, allowed) is None
        assert await queries.task_events(stream, allowed) is None
        assert await queries.task_runs(stream, allowed) is None
        assert await queries.workflow(stream, allowed) is None
        assert await queries.resolve("task", str(stream), allowed) is None
    assert await queries.run(run_id(task=TASK_3), allowed) is None
    assert ids(await queries.events(EventFilter(allowed, correlation="other-chain"))) == []


@pytest.mark.parametrize(
    ("kind", "ref", "allowed", "expected"),
    [
        ("task", str(TASK), OURS, TASK),
        ("task", "T1", OURS, TASK),
        ("task", "T1", frozenset({"other"}), TASK_3),
        ("task", "0193f2a1", OURS, TASK),
        ("task", "0193f2a1-5c7e-7a10-8f00-3d1c5a9b7e0", None, TASK),
        ("task", "0193F2A1", OURS, TASK),
        ("task", "0193f2a", OURS, None),
        ("task", "0193f2a2", OURS, TASK_2),
        ("task", "0193f2a9", OURS, None),
        ("task", "none", OURS, None),
        ("workflow", "F1", OURS, WORKFLOW),
        ("workflow", str(WORKFLOW)[:20], OURS, WORKFLOW),
        ("run", str(run_id()), OURS, run_id()),
        ("run", str(run_id())[:30], OURS, run_id()),
        ("run", "T1", OURS, None),
    ],
)
async def test_a_reference_is_an_id_a_name_or_how_an_id_begins(
    queries: Queries, kind: Any, ref: str, allowed: frozenset[str] | None, expected: UUID | None
) -> None:
    assert await queries.resolve(kind, ref, allowed) == expected


@pytest.mark.parametrize(("ref", "allowed"), [("0193f2a2", BOTH), ("T1", BOTH), ("T1", None)])
async def test_a_reference_that_fits_several_is_refused(
    queries: Queries, ref: str, allowed: frozenset[str] | None
) -> None:
    with pytest.raises(AmbiguousId, match=ref):
        await queries.resolve("task", ref, allowed)


async def test_runs_are_shown_by_task_and_alone(queries: Queries) -> None:
    assert ids(await queries.task_runs(TASK, OURS)) == [run_id()]
    assert ids(await queries.task_runs(TASK_2, OURS)) == []

    run = await queries.run(run_id(), OURS)

    assert run is not None
    shown = json.loads(run.body)
    assert (shown["status"], shown["number"], shown["exit_code"], shown["container_id"]) == ("succeeded", 1, 0, "4f5e")


async def test_events_of_a_stream_come_by_version(queries: Queries) -> None:
    async def versions(**asked: Any) -> tuple[list[int], int]:
        read = await queries.task_events(TASK, OURS, **asked)
        assert read is not None
        return [event["version"] for event in json.loads(read.body)], read.up_to

    assert await versions() == ([1, 2, 3, 4, 5, 6], 6)
    assert await versions(limit=2) == ([1, 2], 2)
    assert await versions(after_version=4) == ([5, 6], 6)
    assert await versions(after_version=6) == ([], 6)
    assert await versions(types=["task.queued.v1", "task.succeeded.v1"]) == ([2, 6], 6)


async def test_an_event_is_shown_with_its_data_and_its_cause(queries: Queries) -> None:
    read = await queries.task_events(TASK, OURS, types=["task.queued.v1"])

    assert read is not None
    (event,) = json.loads(read.body)
    expected = {
        "position": 2,
        "version": 2,
        "type": "task.queued.v1",
        "stream": str(TASK),
        "namespace": "analytics",
        "correlation_id": "chain",
        "causation_id": "command",
        "actor": "alice",
        "data": {"task_id": "T1", "pool": "default", "executor": "docker", "priority": 5},
    }
    assert {name: event[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("asked", "positions", "up_to"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 16, 17, 20, 21, 22, 23, 24, 25], 26),
        ({"allowed": None}, list(range(1, 27)), 26),
        ({"after": 8}, [9, 13, 14, 16, 17, 20, 21, 22, 23, 24, 25], 26),
        ({"after": 8, "limit": 2}, [9, 13], 13),
        ({"after": 26}, [], 26),
        ({"types": ["task.queued.v1"], "allowed": BOTH}, [2, 11, 14], 26),
        ({"correlation": "other-chain", "allowed": BOTH}, [10, 11, 12], 26),
        ({"actor": "carol", "allowed": BOTH, "limit": 1}, [10], 10),
        ({"since": NOW - timedelta(days=9000), "after": 13}, [14, 16, 17, 20, 21, 22, 23, 24, 25], 26),
        ({"until": NOW - timedelta(days=9000)}, [], 26),
    ],
)
async def test_the_feed_is_the_log_after_a_position(
    queries: Queries, asked: dict[str, Any], positions: list[int], up_to: int
) -> None:
    wanted: dict[str, Any] = {"allowed": OURS, **asked}
    read = await queries.events(EventFilter(**wanted))

    assert [event["position"] for event in json.loads(read.body)] == positions
    assert (read.count, read.up_to) == (len(positions), up_to)


async def test_a_workflow_shows_its_graph_and_how_its_tasks_stand(queries: Queries) -> None:
    found = await queries.workflow(WORKFLOW, OURS)
    listed = await queries.workflows(OURS)

    assert found is not None
    shown = json.loads(found.body)
    assert [(node["task_id"], node["status"], node["depends_on"]) for node in shown["nodes"]] == [
        ("T1", "succeeded", []),
        ("T2", "blocked", ["T1"]),
    ]
    assert shown["edges"] == [{"from": "T1", "to": "T2"}]
    assert (shown["workflow_id"], shown["status"], shown["counts"]) == ("F1", "running", {"blocked": 1})
    assert (found.version, found.position) == (1, 9)  # the newest event of its tasks is in it
    assert ids(listed) == [WORKFLOW]
    assert ids(await queries.workflows(frozenset({"other"}))) == []


async def test_workers_are_shown_by_their_id(queries: Queries) -> None:
    worker = await queries.worker("W1", OURS)

    assert worker is not None
    shown = json.loads(worker.body)
    expected = {"worker_id": "W1", "generation": 1, "slots": 4, "status": "live", "version": "1.2.0"}
    assert {name: shown[name] for name in expected} == expected
    assert (shown["held"], shown["executors"]) == ([], ["docker", "noop"])
    assert (await queries.workers(OURS)).count == 1
    assert await queries.worker("W2", OURS) is None


async def test_limits_are_shown_where_they_hold_and_while_they_do(queries: Queries) -> None:
    shown = json.loads((await queries.limits(OURS)).body)

    assert [(row["scope"], row["max_running"], row["starts"], row["per"], row["by"]) for row in shown] == [
        ("namespace:analytics", None, 9, "PT90S", "bob"),
        ("pool:gpu", 2, None, None, "alice"),
    ]
    assert [row["scope"] for row in json.loads((await queries.limits(None)).body)] == [
        "key:other/k",
        "namespace:analytics",
        "pool:gpu",
    ]


async def test_task_types_are_shown_where_they_are_until_they_are_removed(queries: Queries) -> None:
    shown = json.loads((await queries.task_types(OURS)).body)

    assert [(row["name"], row["number"], row["by"]) for row in shown] == [("bake", 2, "alice")]
    assert shown[0]["definition"] == {"image": "busybox:2", "env": {}, "network": "none", "input_schema": SCHEMA}
    assert [*shown[0]["definition"]["input_schema"]["properties"]] == ["b", "a"]
    everywhere = json.loads((await queries.task_types(None)).body)
    assert [(row["name"], row["namespace"]) for row in everywhere] == [("bake", "analytics"), ("bake", "other")]
    one = await queries.task_type(type_stream("analytics", "bake"), OURS)
    assert one is not None
    assert (json.loads(one.body), one.version) == (shown[0], 2)
    for namespace, name in (("other", "bake"), ("analytics", "gone"), ("analytics", "boil")):
        assert await queries.task_type(type_stream(namespace, name), OURS) is None


async def test_an_outcome_is_shown_to_its_sender_and_to_who_may_see_its_stream(queries: Queries) -> None:
    for allowed, principal in ((NOBODY, "alice"), (OURS, "bob"), (None, "bob")):
        reply = await queries.outcome(COMMAND, allowed, principal)
        assert reply is not None
        assert Reply.model_validate_json(reply).model_copy(update={"position": None}) == REPLY
    assert await queries.outcome(COMMAND, frozenset({"other"}), "bob") is None
    assert await queries.outcome(TASK, None, "alice") is None


async def test_followers_are_shown_with_their_positions(queries: Queries) -> None:
    listed = await queries.projections()

    assert [(row["name"], row["position"]) for row in json.loads(listed.body)] == [("projector", len(HISTORY))]
    assert await queries.head() == len(HISTORY)
