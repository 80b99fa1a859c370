"""What the API refuses, and what it says then. Nothing here changes anything, so all tests share one API."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support import database
from tests.support.histories import TASK, run_id
from tests.support.http_api import Running, running
from tests.support.stack import Servers

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
READALL = {"sub": "x", "client_id": "x", "scope": "tasks:readall ns:*"}
PROTECTED = [
    "/v1/tasks",
    f"/v1/tasks/{TASK}",
    f"/v1/tasks/{TASK}/events",
    f"/v1/tasks/{TASK}/runs",
    f"/v1/tasks/{TASK}/result",
    f"/v1/runs/{run_id()}",
    f"/v1/runs/{run_id()}/logs",
    "/v1/workflows",
    f"/v1/workflows/{TASK}",
    "/v1/workers",
    "/v1/workers/W1",
    "/v1/events",
    "/v1/stream",
    f"/v1/commands/{TASK}",
    "/v1/projections",
    "/v1/dead-letters",
    f"/v1/dead-letters/{TASK}",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(servers: Servers, pg_template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    with database.copy_of(servers.postgres(), pg_template) as copy:
        async with running(copy, tmp_path_factory.mktemp("issuer")) as api:
            yield api


def in_one(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize("path", PROTECTED)
async def test_no_question_is_answered_without_a_token_or_with_another_scope(api: Running, path: str) -> None:
    bare = await api.client.get(path)
    assert bare.status_code == 401
    metadata = f'resource_metadata="{api.url}/.well-known/oauth-protected-resource"'
    assert bare.headers["www-authenticate"] == f'Bearer realm="tallyport", {metadata}'
    assert in_one(bare.text)["code"] == "no-token"

    other = await api.get(path, "ns:*")
    assert other.status_code == 403
    assert 'error="insufficient_scope", scope="' in other.headers["www-authenticate"]
    assert other.headers["content-type"] == "application/problem+json"


async def test_a_token_is_taken_from_one_bearer_header_only(api: Running) -> None:
    token = api.issuer.token("reader")
    basic = await api.client.get("/v1/tasks", headers={"Authorization": "Basic YTpi"})
    assert basic.status_code == 401

    twice = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    assert (await api.client.get("/v1/tasks", headers=twice)).status_code == 400

    in_address = await api.client.get(f"/v1/tasks?access_token={token}")
    assert in_address.status_code == 401
    assert token not in in_address.text

    assert (await api.client.get("/v1/tasks", headers={"Authorization": f"Bearer {token}x"})).status_code == 401
    assert (await api.client.get("/v1/tasks", headers={"Authorization": "Bearer " + "x" * 9000})).status_code == 431
    similar = await api.client.get("/v1/tasks", headers={"Authorization": f"Bearer {api.issuer.sign(READALL)}"})
    assert similar.status_code == 403


@pytest.mark.parametrize("ref", ["..%2f..%2fetc", "%00", "';--", "x" * 10_000, "{}", "%F0%9F%98%80", "a b"])
async def test_a_strange_id_is_simply_not_found(api: Running, ref: str) -> None:
    for path in (f"/v1/tasks/{ref}", f"/v1/tasks/{ref}/events", f"/v1/workers/{ref}", f"/v1/runs/{ref}/logs"):
        assert (await api.get(path)).status_code == 404


async def test_a_run_has_no_name_to_be_looked_for(api: Running) -> None:
    assert (await api.get("/v1/runs/first")).status_code == 404
    assert (await api.get(f"/v1/runs/{str(run_id())[:13].upper()}")).status_code == 404
    assert (await api.get(f"/v1/tasks/{str(TASK)[:13].upper()}")).status_code == 404


async def test_a_time_that_does_not_fit_is_told_in_our_own_words(api: Running) -> None:
    refused = await api.get("/v1/tasks?created_after=yesterday")

    assert in_one(refused.text)["detail"].startswith("created_after: write it as 2026-")


async def test_views_that_are_behind_say_so(api: Running) -> None:
    behind = await api.get("/v1/tasks?after_position=1000000")
    assert behind.status_code == 503
    assert behind.headers["retry-after"] == "1"
    assert in_one(behind.text)["code"] == "unavailable"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=-1", "limit"),
        ("limit=0", "limit"),
        ("limit=1000000000", "limit"),
        ("limit=1e3", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=", "limit"),
        ("limit=5&limit=6", "limit"),
        ("cursor=forged", "cursor"),
        ("cursor=NQ", "cursor"),
        ("cursor=bnVsbA", "cursor"),
        ("created_after=0001-01-01T00:00:00Z", "created_after"),
        ("created_after=0001-01-01T00:00:00%2B14:00", "created_after"),
        ("created_before=9999-12-31T23:59:59-14:00", "created_before"),
        ("colour=red", "colour"),
        ("sort=spec", "sort"),
        ("status=sleeping", "status"),
        ("created_after=yesterday", "created_after"),
        ("created_after=0.5", "created_after"),
        ("created_after=2026-11-20T02:00:00", "created_after"),
        ("after_position=-1", "after_position"),
        ("namespace=UPPER", "namespace"),
        ("label==x", "label"),
    ],
)
async def test_a_wrong_parameter_is_named(api: Running, query: str, field: str) -> None:
    refused = await api.get(f"/v1/tasks?{query}")
    assert refused.status_code == 400
    assert field in in_one(refused.text)["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
async def test_a_query_is_asked_with_get(api: Running, method: str) -> None:
    headers = {**api.bearer(), "X-HTTP-Method-Override": "GET"}
    refused = await api.client.request(method, "/v1/events", headers=headers)
    assert refused.status_code == 405
    assert refused.headers["allow"] == "GET, HEAD"
    assert refused.headers["content-type"] == "application/problem+json"


async def test_every_answer_is_marked_and_every_problem_is_traced(api: Running) -> None:
    answers = [
        await api.client.get("/livez"),
        await api.client.get("/nowhere", headers={"traceparent": PARENT}),
        await api.get("/v1/tasks", headers={"traceparent": PARENT}),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "total;dur=" in answer.headers["server-timing"]
        assert "server" not in answer.headers
    problem = in_one(answers[1].text)
    assert (problem["status"], problem["code"]) == (404, "not-found")
    assert problem["trace_id"] == PARENT[3:35]
    assert len(in_one((await api.client.get("/nowhere")).text)["trace_id"]) == 32


async def test_another_host_and_a_large_body_are_turned_away(api: Running) -> None:
    assert (await api.client.get("/livez", headers={"Host": "evil.test"})).status_code == 421
    assert (
        (await api.client.get("/livez", headers={"Origin": "https://evil.test"}))
        .headers.keys()
        .isdisjoint({"access-control-allow-origin"})
    )
    large = await api.client.post("/v1/tasks", content=b"x" * (2 << 20), headers=api.bearer("", "admin"))
    assert (large.status_code, large.headers["connection"]) == (413, "close")


@pytest.mark.parametrize("last", ["-1", "x", "999999", "1e3"])
async def test_a_feed_refuses_a_place_that_is_none(api: Running, last: str) -> None:
    refused = await api.get("/v1/stream", headers={"Last-Event-ID": last})
    assert (refused.status_code, in_one(refused.text)["code"]) == (400, "bad-query")


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/tasks", b"{", 400, "bad-json"),
        ("/v1/tasks", b"[]", 400, "not-object"),
        ("/v1/tasks", b'{"task_id":"a","task_id":"b"}', 400, "dup-key"),
        ("/v1/tasks", b'{"task_id":"a","colour":1,"executor":"noop"}', 422, "unknown-field"),
        ("/v1/tasks", b'{"priority":"high","executor":"noop"}', 422, "schema"),
        ("/v1/tasks", json.dumps({"name": "x" * 70_000}).encode(), 413, "too-large"),
        ("/v1/commands", b'{"type":"task.submit.v1"}', 400, "not-object"),
        ("/v1/commands", b'{"type":"task.submit.v1","data":{"name":"a","name":"b"}}', 400, "dup-key"),
        ("/v1/commands", b'{"data":{}}', 400, "no-type"),
        ("/v1/commands", b"{", 400, "bad-json"),
        ("/v1/commands", b'{"type":"task.submit.v9","data":{}}', 422, "unknown-version"),
        ("/v1/commands", b'{"type":"task.frobnicate.v1","data":{}}', 422, "unknown-type"),
        ("/v1/commands", b'{"type":"run.start.v1","data":{}}', 422, "unknown-type"),
        ("/v1/commands", b'{"id":"7","type":"task.submit.v1","data":{}}', 400, "bad-id"),
        ("/v1/tasks", b'{"namespace":"other","executor":"noop"}', 403, "insufficient-scope"),
        ("/v1/commands", b'{"type":"limit.set.v1","data":{"scope":"pool:default"}}', 403, "insufficient-scope"),
        ("/v1/commands", b'{"type":"worker.stop.v1","data":{"worker_id":"w1"}}', 403, "insufficient-scope"),
        ("/v1/commands", b'{"type":"worker.start.v1","data":{"worker_id":"w1"}}', 403, "insufficient-scope"),
    ],
)
async def test_a_command_that_cannot_be_judged_is_not_published(
    api: Running, path: str, body: bytes, status: int, code: str
) -> None:
    headers = {**api.bearer("commands:write ns:default", "admin"), "Content-Type": "application/json"}
    refused = await api.client.post(path, content=body, headers=headers)
    assert (refused.status_code, in_one(refused.text)["code"]) == (status, code)
    assert api.broker.published == []


async def test_a_reader_may_not_send_commands(api: Running) -> None:
    refused = await api.client.post("/v1/tasks", content=b"{}", headers=api.bearer())
    assert refused.status_code == 403
    assert 'scope="commands:write"' in refused.headers["www-authenticate"]


async def test_what_everybody_may_know(api: Running) -> None:
    found = {path: await api.client.get(path) for path in ("/livez", "/readyz?verbose", "/startupz", "/version")}
    assert {answer.status_code for answer in found.values()} == {200}
    assert in_one(found["/version"].text) == {"version": "1.2.3"}
    resource = in_one((await api.client.get("/.well-known/oauth-protected-resource")).text)
    assert (resource["resource"], resource["authorization_servers"]) == (api.url, ["http://issuer.test"])
    assert in_one((await api.client.get("/openapi.json")).text)["openapi"].startswith("3.1")
    schema = await api.client.get("/v1/schemas/task.submit.v1")
    assert in_one(schema.text)["title"] == "task.submit.v1"
    assert {"type": "task.submit.v1", "schema": "/v1/schemas/task.submit.v1"} in json.loads(
        (await api.client.get("/v1/schemas")).text
    )
    assert (await api.client.get("/v1/schemas/nothing.v1")).status_code == 404
    assert (await api.client.get("/docs")).status_code == 404
    assert (await api.client.get("/metrics")).status_code == 404
