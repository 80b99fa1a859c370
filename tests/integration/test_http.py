"""The API over real HTTP: who may ask, what is answered, and what is said of every refusal."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest

from domain import events as e
from domain.ids import derived_id
from domain.placing import Cache
from domain.recorded import new_events
from domain.reports import Artifact
from domain.specs import TaskSpec
from domain.submitting import submit_task
from domain.task_type import Types, type_stream
from domain.type_specs import Definition
from infra.dev.otlp_receiver import otlp_receiver, tree
from infra.setting_groups import Otel
from infra.telemetry import tracing
from tests.support import database
from tests.support.database import Database
from tests.support.histories import CAUSE, TASK, TASK_2, TASK_3, WORKFLOW, run_id, whole
from tests.support.http_api import Running, running

pytestmark = pytest.mark.integration
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CHAIN = ((0, ()), (1, ("t0",)), (2, ("t1",)), (3, ("t2",)))
FOREIGN = TaskSpec(task_id="T9", executor="noop")


def in_one(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


async def test_what_lies_in_another_namespace_looks_like_what_does_not_exist(api: Running) -> None:
    there = await api.append(*whole(), *whole(TASK_2, FOREIGN, "secret"))
    mine = "tasks:read events:read logs:read ns:default"
    await api.get(f"/v1/tasks?after_position={there}")
    headers = {"traceparent": PARENT}

    for suffix in ("", "/events", "/runs", "/explain", "/result"):
        foreign = await api.get(f"/v1/tasks/{TASK_2}{suffix}", mine, headers=headers)
        unknown = await api.get(f"/v1/tasks/{TASK_3}{suffix}", mine, headers=headers)
        assert foreign.status_code == 404
        assert foreign.content == unknown.content
        assert (await api.get(f"/v1/tasks/{TASK}{suffix}", mine)).status_code == 200
    foreign_run = await api.get(f"/v1/runs/{run_id(1, TASK_2)}/logs", mine, headers=headers)
    assert foreign_run.status_code == 404
    assert foreign_run.content == (await api.get(f"/v1/runs/{uuid4()}/logs", mine, headers=headers)).content

    assert [task["task_id"] for task in json.loads((await api.get("/v1/tasks", mine)).text)] == ["T1"]
    assert {event["namespace"] for event in json.loads((await api.get("/v1/events", mine)).text)} == {"default"}
    assert (await api.get("/v1/tasks?namespace=secret", mine)).status_code == 404
    assert (await api.get("/v1/tasks", "tasks:read")).text == "[]"


async def test_a_task_is_found_by_id_beginning_or_name(api: Running) -> None:
    there = await api.append(*whole())
    await api.name(TASK, "T1")
    for ref in (str(TASK), str(TASK)[:13], "T1?namespace=default"):
        found = await api.get(f"/v1/tasks/{ref}", params=None if "?" in ref else {"after_position": there})
        assert found.status_code == 200
        assert in_one(found.text)["id"] == str(TASK)
    assert (await api.get("/v1/tasks/T1", "tasks:read ns:default")).status_code == 200

    ambiguous = await api.get("/v1/tasks/T1")
    assert ambiguous.status_code == 400
    assert "namespace" in in_one(ambiguous.text)["detail"]


async def test_a_version_that_the_caller_has_is_not_sent_again(api: Running) -> None:
    there = await api.append(*whole())
    first = await api.get(f"/v1/tasks/{TASK}?after_position={there}")
    assert first.headers["etag"] == '"v6"'
    assert int(first.headers["x-position"]) >= there
    assert first.headers["cache-control"] == "private, no-cache"

    again = await api.get(f"/v1/tasks/{TASK}", headers={"If-None-Match": '"v6"'})
    assert (again.status_code, again.content) == (304, b"")
    listed = await api.get("/v1/tasks")
    same = await api.get("/v1/tasks", headers={"If-None-Match": listed.headers["etag"]})
    assert same.status_code == 304


async def test_a_long_poll_ends_with_the_task_or_with_something_newer(api: Running) -> None:
    history = whole()
    there = await api.append(*history[:3])
    assert (await api.get(f"/v1/tasks/{TASK}?after_position={there}")).headers["etag"] == '"v3"'

    newer = asyncio.create_task(api.get(f"/v1/tasks/{TASK}?wait=PT10S", headers={"If-None-Match": '"v3"'}))
    ended = asyncio.create_task(api.get(f"/v1/tasks/{TASK}?wait=PT10S"))
    await api.append(history[3])
    assert (await newer).headers["etag"] == '"v4"'
    assert not ended.done()
    await api.append(*history[4:])
    assert in_one((await ended).text)["status"] == "succeeded"

    unchanged = await api.get(f"/v1/tasks/{TASK}?wait=PT0.2S", headers={"If-None-Match": '"v6"'})
    assert unchanged.status_code == 304


async def test_a_result_comes_with_the_end_and_not_before(api: Running) -> None:
    history = whole()
    there = await api.append(*history[:4])
    early = await api.get(f"/v1/tasks/{TASK}/result")
    await api.get(f"/v1/tasks?after_position={there}")
    early = await api.get(f"/v1/tasks/{TASK}/result")
    assert (early.status_code, in_one(early.text)["code"]) == (409, "result-not-yet")

    artifact = Artifact(name="m", uri="s3://b/m", sha256="ab" * 32, bytes=7)
    done = e.TaskSucceeded(task_id="T1", runs=1, exit_code=0, result={"rows": 3}, artifacts=(artifact,))
    await api.append(history[4], *new_events(TASK, 5, "default", [done], CAUSE))
    late = await api.get(f"/v1/tasks/{TASK}/result?wait=PT10S")
    assert in_one(late.text) == {
        "task_id": "T1",
        "id": str(TASK),
        "status": "succeeded",
        "exit_code": 0,
        "result": {"rows": 3},
        "artifacts": [{"name": "m", "uri": "s3://b/m", "sha256": "ab" * 32, "bytes": 7}],
        "cached_from": None,
    }


async def test_a_task_that_took_a_result_names_the_first_one_with_the_result_and_in_lists_too(api: Running) -> None:
    first, noop = derived_id(TASK, "first"), TaskSpec(task_id="T1", executor="noop", cache=Cache())
    ended_at = datetime(2026, 11, 21, 3, 12, 40, tzinfo=UTC)
    done = e.TaskSucceeded(
        task_id="T1",
        runs=0,
        exit_code=0,
        result={"rows": 3},
        cached_from=e.CachedFrom(task_id="T0", stream=first, ended_at=ended_at),
    )
    there = await api.append(*new_events(TASK, 0, "default", [*submit_task(noop, TASK, {}, Types("")), done], CAUSE))

    one = in_one((await api.get(f"/v1/tasks/{TASK}?after_position={there}")).text)
    (listed,) = json.loads((await api.get("/v1/tasks?name=T1")).text)
    left = in_one((await api.get(f"/v1/tasks/{TASK}/result")).text)

    said = {"task_id": "T0", "id": str(first), "ended_at": "2026-11-21T03:12:40Z"}
    assert (one["status"], one["runs"], one["result"], one["cached_from"]) == ("succeeded", 0, {"rows": 3}, said)
    assert listed["cached_from"] == said
    assert (left["result"], left["cached_from"]) == ({"rows": 3}, said)


async def test_task_types_are_listed_and_shown_by_name_and_namespace(api: Running) -> None:
    put = e.TaskTypeChanged(task_type="bake", number=1, definition=Definition(image="busybox"), by="alice")
    for namespace in ("default", "analytics"):
        there = await api.append(*new_events(type_stream(namespace, "bake"), 0, namespace, [put], CAUSE))

    listed = await api.get(f"/v1/task-types?after_position={there}")
    shown = [(row["name"], row["namespace"], row["number"]) for row in json.loads(listed.text)]
    assert shown == [("bake", "analytics", 1), ("bake", "default", 1)]
    one = await api.get("/v1/task-types/bake?namespace=analytics")
    assert (one.status_code, one.headers["etag"], in_one(one.text)["namespace"]) == (200, '"v1"', "analytics")
    assert in_one((await api.get("/v1/task-types/bake")).text)["namespace"] == "default"
    assert (await api.get("/v1/task-types/boil")).status_code == 404


async def test_a_cursor_leads_through_all_tasks_once(api: Running) -> None:
    tasks = [derived_id(TASK, str(number)) for number in range(7)]
    there = 0
    for number, task in enumerate(tasks):
        there = await api.append(*whole(task, TaskSpec(task_id=f"N{number}", executor="noop")))
    seen: list[str] = []
    address = f"/v1/tasks?limit=3&status=completed&after_position={there}"
    while address:
        page = await api.get(address)
        seen += [task["task_id"] for task in json.loads(page.text)]
        link = page.headers.get("link", "")
        address = link[1 : link.index(">")] if link else ""
    assert sorted(seen) == [f"N{number}" for number in range(7)]


async def test_an_event_page_says_how_far_it_read(api: Running) -> None:
    there = await api.append(*whole(), *whole(TASK_2, FOREIGN, "secret"))
    page = await api.get("/v1/events?types=task.queued.v1,task.succeeded.v1&limit=10")
    assert [event["type"] for event in json.loads(page.text)] == ["task.queued.v1", "task.succeeded.v1"] * 2
    assert int(page.headers["x-position"]) == there
    nothing = await api.get(f"/v1/events?after={there}&wait=PT0.1S")
    assert nothing.text == "[]"
    assert f"after={there}" in nothing.headers["link"]

    history = await api.get(f"/v1/tasks/{TASK}/events?limit=4")
    assert [event["version"] for event in json.loads(history.text)] == [1, 2, 3, 4]


async def events_of(api: Running, path: str, count: int, scope: str = "", **headers: str) -> list[dict[str, str]]:
    """The first events of a feed, as id, event, data."""
    found: list[dict[str, str]] = []
    async with asyncio.timeout(10):
        async with api.client.stream("GET", path, headers=api.bearer(scope) | headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream"), await answer.aread()
            one: dict[str, str] = {}
            async for line in answer.aiter_lines():
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    one[name] = value
                elif "data" in one:
                    found.append(one)
                    one = {}
                    if len(found) == count:
                        return found
                else:
                    one = {}
    return found


async def test_a_feed_goes_on_where_it_was_left(api: Running) -> None:
    history = whole()
    await api.append(*history[:2])
    first = await events_of(api, "/v1/stream?after=0", 2)
    assert [one["event"] for one in first] == ["task.submitted.v1", "task.queued.v1"]

    following = asyncio.create_task(events_of(api, "/v1/stream", 4, **{"Last-Event-ID": first[0]["id"]}))
    await api.append(*history[2:5])
    rest = await following
    assert [json.loads(one["data"])["version"] for one in rest] == [2, 3, 4, 5]
    assert [int(one["id"]) for one in rest] == [json.loads(one["data"])["position"] for one in rest]


async def test_a_feed_shows_no_other_namespace(api: Running) -> None:
    await api.append(*whole(TASK_2, FOREIGN, "secret"), *whole())
    seen = await events_of(api, "/v1/stream?after=0", 6, "events:read ns:default")
    assert {json.loads(one["data"])["stream"] for one in seen} == {str(TASK)}


async def test_the_feeds_of_one_caller_are_counted(api: Running) -> None:
    async def hold(opened: asyncio.Semaphore) -> None:
        async with api.client.stream("GET", "/v1/stream", headers=api.bearer()) as answer:
            assert answer.status_code == 200
            opened.release()
            async for _ in answer.aiter_bytes():
                pass

    opened = asyncio.Semaphore(0)
    holding = [asyncio.create_task(hold(opened)) for _ in range(5)]
    async with asyncio.timeout(20):
        for _ in holding:
            await opened.acquire()
    sixth = await api.get("/v1/stream")
    assert sixth.status_code == 429
    assert sixth.headers["retry-after"] == "5"
    assert (await api.client.get("/v1/tasks", headers=api.bearer())).status_code == 200

    for task in holding:
        task.cancel()
    await asyncio.gather(*holding, return_exceptions=True)


async def test_too_many_requests_are_told_when_to_come_back(pg: Database, tmp_path: Path) -> None:
    from api.http.context import Bounds

    async with running(pg, tmp_path, bounds=Bounds(reads=5)) as api:
        answers = [await api.get("/v1/projections") for _ in range(12)]
        assert answers[0].headers["ratelimit-policy"] == '"reads";q=5;w=1'
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert refused[0].headers["retry-after"] == "1"
        assert in_one(refused[0].text)["code"] == "too-many-requests"


async def test_logs_are_plain_text_that_is_never_rendered(api: Running) -> None:
    there = await api.append(*whole())
    api.printed.streams = {(run_id(), "stdout"): (b"<b>one</b>\ntwo\n", True), (run_id(), "stderr"): (b"oh\n", True)}
    path = f"/v1/runs/{run_id()}/logs"
    await api.get(f"/v1/runs/{run_id()}?after_position={there}")

    both = await api.get(path)
    assert both.content == b"<b>one</b>\ntwo\noh\n"
    assert both.headers["content-type"] == "text/plain; charset=utf-8"
    assert both.headers["content-disposition"].startswith("attachment")
    assert (await api.get(f"{path}?stream=stderr")).content == b"oh\n"
    assert (await api.get(f"{path}?tail=1")).content == b"two\noh\n"

    part = await api.get(path, headers={"Range": "bytes=11-16"})
    assert (part.status_code, part.content) == (206, b"two\noh")
    assert part.headers["content-range"] == "bytes 11-16/18"
    assert (await api.get(path, headers={"Range": "bytes=-3"})).content == b"oh\n"
    beyond = await api.get(path, headers={"Range": "bytes=18-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */18")


async def test_logs_are_followed_until_the_run_has_ended(api: Running) -> None:
    history = whole()
    there = await api.append(*history[:4])
    await api.get(f"/v1/runs/{run_id()}?after_position={there}")
    key: tuple[UUID, Any] = (run_id(), "stdout")
    api.printed.streams[key] = ("grüß".encode()[:-1], False)
    path = f"/v1/runs/{run_id()}/logs?follow=true"

    first = await events_of(api, path, 1)
    assert json.loads(first[0]["data"]) == {"stream": "stdout", "offset": 0, "text": "grü"}
    following = asyncio.create_task(events_of(api, path, 3))
    api.printed.streams[key] = ("grüße\n".encode(), True)
    await api.append(*history[4:])

    events = await following
    assert "".join(json.loads(one["data"])["text"] for one in events if one["event"] == "log") == "grüße\n"
    assert events[-1]["event"] == "end"
    assert json.loads(events[-1]["data"]) == {"status": "succeeded", "exit_code": 0}
    resumed = await events_of(api, path, 2, **{"Last-Event-ID": "stdout=7,stderr=0"})
    assert json.loads(resumed[0]["data"])["text"] == "\n"


SMALLEST = {"task_id": "hello", "container": {"image": "tallyport/busybox:dev", "command": ["echo", "hello"]}}


async def test_a_posted_task_is_published_with_its_sender_and_answered_with_an_address(api: Running) -> None:
    key = str(uuid4())
    body = json.dumps(SMALLEST).encode()
    headers = {**api.bearer("", "admin"), "Idempotency-Key": key, "traceparent": PARENT}

    taken = await api.client.post("/v1/tasks", content=body, headers=headers)

    assert taken.status_code == 202
    assert taken.headers["location"] == f"/v1/commands/{key}"
    [message] = api.broker.published
    assert (message.exchange, message.routing_key) == ("task.commands", "task.submit.default")
    assert (str(message.id), message.type, message.body) == (key, "task.submit.v1", body)
    assert (message.headers["ce-authid"], message.user) == ("admin", "tally")
    assert str(message.headers["traceparent"])[3:35] == PARENT[3:35]
    assert (await api.get(taken.headers["location"])).status_code == 404  # another one's command
    mine = await api.client.get(taken.headers["location"], headers=api.bearer("", "admin"))
    assert (mine.status_code, in_one(mine.text)["outcome"]) == (202, "pending")


async def test_a_command_as_a_cloudevent_reaches_the_queue(api: Running) -> None:
    command_id = str(uuid4())
    event = {"specversion": "1.0", "id": command_id, "source": "/me", "type": "task.cancel.v1"}
    body = json.dumps({**event, "data": {"task_id": "T1", "namespace": "analytics"}})
    headers = {**api.bearer("", "admin"), "Content-Type": "application/cloudevents+json"}

    assert (await api.client.post("/v1/commands", content=body, headers=headers)).status_code == 202
    assert api.broker.published[0].routing_key == "task.cancel.analytics"
    differs = await api.client.post("/v1/commands", content=body, headers={**headers, "Idempotency-Key": str(uuid4())})
    assert (differs.status_code, in_one(differs.text)["code"]) == (400, "id-mismatch")


async def test_operators_see_workers_followers_and_dead_letters(api: Running) -> None:
    from tests.support.histories import WORKER, registered

    there = await api.append(*new_events(WORKER, 0, "_", [registered()], CAUSE))
    await api.get(f"/v1/tasks?after_position={there}")
    [worker] = json.loads((await api.get("/v1/workers")).text)
    assert worker["worker_id"] == "W1"
    assert in_one((await api.get("/v1/workers/W1")).text)["slots"] == 4
    assert (await api.get("/v1/workers/W2")).status_code == 404
    assert "projector" in {row["name"] for row in json.loads((await api.get("/v1/projections")).text)}
    assert (await api.get("/v1/dead-letters")).text == "[]"
    assert (await api.get("/v1/dead-letters", "ops:read ns:default")).status_code == 403


async def test_a_posted_command_is_one_connected_trace(pg: Database, tmp_path: Path) -> None:
    with otlp_receiver() as receiver:
        with tracing(Otel(endpoint=receiver.endpoint, sample=1), "api") as traces:
            async with running(pg, tmp_path / "issuer", traces) as api:
                headers = api.bearer("", "admin")
                await api.client.post("/v1/tasks", content=json.dumps(SMALLEST), headers=headers)
                [message] = api.broker.published
        spans = receiver.trace(str(message.headers["traceparent"])[3:35])
    found = tree(spans)
    assert found.connected
    assert [span.name for _, span in found.walk()] == ["POST /v1/tasks", "send task.commands"]
    assert spans[0].service == "tally-api"


async def test_an_issuer_that_is_away_lets_nobody_in_and_nothing_else_stops(pg: Database, tmp_path: Path) -> None:
    async with running(pg, tmp_path / "issuer") as api:
        token = api.issuer.token("reader")
        api.issuer.url = "http://elsewhere.test"  # its metadata now name another issuer
        refused = await api.client.get("/v1/tasks", headers={"Authorization": f"Bearer {token}"})
        assert refused.status_code == 503
        assert (await api.client.get("/livez")).status_code == 200


async def test_without_its_database_the_api_lives_and_says_when_to_come_back(pg: Database, tmp_path: Path) -> None:
    async with running(pg, tmp_path / "issuer") as api:
        assert (await api.get("/v1/tasks")).status_code == 200
        name = urlsplit(pg.owner).path[1:]
        database.drop(database.in_database(pg.owner, "postgres"), name)

        down = await api.get("/v1/tasks")

        assert (down.status_code, down.headers["retry-after"]) == (503, "1")
        assert (await api.client.get("/livez")).status_code == 200
        assert (await api.client.get("/readyz")).status_code == 503


async def test_it_is_explained_why_a_task_stands_as_it_does(api: Running) -> None:
    there = await api.append(*whole())

    answer = await api.get(f"/v1/tasks/{TASK}/explain?after_position={there}", "tasks:read ns:default")

    said = in_one(answer.text)
    assert (answer.status_code, answer.headers["x-position"]) == (200, str(said["position"]))
    assert (said["task_id"], said["id"], said["status"]) == ("T1", str(TASK), "succeeded")
    assert said["causes"] == [{"code": "succeeded", "detail": "run 1 succeeded", "runs": 1, "exit_code": 0}]
    assert (await api.get(f"/v1/tasks/{TASK}/explain", "events:read ns:default")).status_code == 403


async def test_a_workflow_is_drawn_in_ranks_and_in_part(api: Running) -> None:
    nodes = tuple(e.Node(task_id=f"t{n}", stream=derived_id(WORKFLOW, str(n)), depends_on=needs) for n, needs in CHAIN)
    there = await api.append(
        *new_events(WORKFLOW, 0, "default", [e.WorkflowSubmitted(workflow_id="F1", tasks=nodes)], CAUSE)
    )

    whole = in_one((await api.get(f"/v1/workflows/{WORKFLOW}?after_position={there}")).text)
    part = in_one((await api.get(f"/v1/workflows/{WORKFLOW}?around=t2&hops=1")).text)

    assert whole["ranks"] == [["t0"], ["t1"], ["t2"], ["t3"]]
    assert (part["ranks"], part["tasks"]) == ([["t1"], ["t2"], ["t3"]], 4)
    assert part["edges"] == [{"from": "t1", "to": "t2"}, {"from": "t2", "to": "t3"}]
    for query, named in (("around=t9", "around"), ("hops=1", "hops"), ("around=t1&hops=101", "hops")):
        refused = await api.get(f"/v1/workflows/{WORKFLOW}?{query}")
        assert (refused.status_code, in_one(refused.text)["code"]) == (400, "bad-query")
        assert named in refused.text
