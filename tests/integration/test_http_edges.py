"""What the API answers before and beside its routes: what is too large, HEAD, other methods, and defects of ours."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from adapters.queries import PgQueries
from domain.errors import Unavailable, Unroutable
from domain.ports.broker import Outgoing
from domain.ports.querying import Listed, TaskFilter
from tests.support.histories import TASK, run_id, whole
from tests.support.http_api import Running

pytestmark = pytest.mark.integration
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def in_one(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


async def sent(api: Running, request: bytes) -> bytes:
    """All that a connection gives back to these bytes."""
    at = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


async def test_a_body_of_unsaid_length_is_taken_no_further_than_any_other(api: Running) -> None:
    pieces = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pieces
        while True:
            pieces += 1
            yield b"x" * 65_536

    async with asyncio.timeout(20):
        with suppress(httpx2.TransportError):  # it is cut off while it sends
            await api.client.post("/v1/tasks", content=endless(), headers=api.bearer("", "admin"))
    assert pieces < 1000

    async def two_mebibytes() -> AsyncIterator[bytes]:
        for _ in range(32):
            yield b"x" * 65_536

    refused = await api.client.post("/v1/tasks", content=two_mebibytes(), headers=api.bearer("", "admin"))
    assert (refused.status_code, in_one(refused.text)["code"]) == (413, "too-large")
    assert refused.headers["connection"] == "close"


async def test_who_asks_before_he_sends_too_much_is_told_not_to(api: Running) -> None:
    head = b"POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 2000000\r\n\r\n"
    assert (await sent(api, head)).startswith(b"HTTP/1.1 413 ")


async def test_an_address_has_its_bounds(api: Running) -> None:
    long = await api.get("/v1/tasks?" + "label=&" * 3000)
    assert (long.status_code, in_one(long.text)["code"]) == (414, "address-too-long")
    assert (await api.get("/v1/tasks?" + "label=a&" * 1000)).status_code == 200


async def test_head_tells_what_get_would_and_sends_no_body(api: Running) -> None:
    there = await api.append(*whole())
    api.printed.streams = {(run_id(), "stdout"): (b"one\n", True)}
    await api.get(f"/v1/tasks?after_position={there}")
    for path in (f"/v1/tasks/{TASK}", "/v1/tasks", f"/v1/runs/{run_id()}/logs", "/livez", "/nowhere"):
        whole_answer = await api.get(path)
        head = await api.client.head(path, headers=api.bearer())
        assert (head.status_code, head.content) == (whole_answer.status_code, b"")
        for name in ("etag", "content-type", "content-length", "accept-ranges", "content-security-policy"):
            assert (path, head.headers.get(name)) == (path, whole_answer.headers.get(name))


async def test_a_feed_that_is_only_asked_after_is_not_held(api: Running) -> None:
    for _ in range(6):  # one more than may be open at once
        head = await api.client.head("/v1/stream", headers=api.bearer())
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/tasks", "GET, HEAD, POST"),
        ("/v1/commands", "POST"),
        (f"/v1/tasks/{TASK}", "GET, HEAD"),
        ("/livez", "GET, HEAD"),
    ],
)
async def test_a_refused_method_is_told_all_that_are_allowed(api: Running, path: str, allow: str) -> None:
    refused = await api.client.put(path, headers=api.bearer())
    assert (refused.status_code, refused.headers["allow"]) == (405, allow)
    assert refused.headers["content-type"] == "application/problem+json"


async def test_a_defect_tells_its_trace_alone_and_is_marked_as_any_answer(
    api: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: PgQueries, wanted: TaskFilter) -> Listed:
        raise RuntimeError("the inside of it")

    monkeypatch.setattr(PgQueries, "tasks", broken)

    defect = await api.get("/v1/tasks", headers={"traceparent": PARENT})

    assert (defect.status_code, in_one(defect.text)["code"]) == (500, "defect")
    assert in_one(defect.text)["trace_id"] == TRACE
    assert "inside" not in defect.text
    assert defect.headers["x-content-type-options"] == "nosniff"
    assert "server-timing" in defect.headers
    [logged] = [record for record in caplog.records if record.exc_info]
    assert TRACE in logged.getMessage()


async def test_a_broker_without_our_queues_is_an_outage(api: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nowhere(self: object, messages: list[Outgoing]) -> None:
        raise Unroutable(messages[0].exchange, messages[0].routing_key)

    monkeypatch.setattr(type(api.broker.publisher()), "publish", nowhere)

    refused = await api.client.post("/v1/tasks", content=b'{"executor":"noop"}', headers=api.bearer("", "admin"))

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")


async def test_answers_vary_with_the_token_however_they_are_encoded(api: Running) -> None:
    await api.append(*whole())
    for encoding in ("gzip", "identity"):
        answer = await api.get("/v1/events", headers={"Accept-Encoding": encoding})
        assert answer.headers["vary"] == "Authorization, Accept-Encoding"
        assert answer.headers.get("content-encoding", "identity") == encoding


async def test_part_of_a_log_is_never_compressed(api: Running) -> None:
    there = await api.append(*whole())
    api.printed.streams = {(run_id(), "stdout"): (b"line\n" * 1000, True)}
    await api.get(f"/v1/tasks?after_position={there}")
    part = await api.get(f"/v1/runs/{run_id()}/logs", headers={"Range": "bytes=0-3999", "Accept-Encoding": "gzip"})
    assert (part.status_code, part.headers.get("content-encoding")) == (206, None)
    assert (part.headers["content-length"], part.content) == ("4000", b"line\n" * 800)


async def test_a_range_that_ends_before_it_begins_is_none(api: Running) -> None:
    there = await api.append(*whole())
    api.printed.streams = {(run_id(), "stdout"): (b"0123456789", True)}
    await api.get(f"/v1/tasks?after_position={there}")
    all_of_it = await api.get(f"/v1/runs/{run_id()}/logs", headers={"Range": "bytes=5-2"})
    assert (all_of_it.status_code, all_of_it.content) == (200, b"0123456789")


async def test_a_log_that_cannot_be_read_is_an_outage(api: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unreadable(*_: object) -> bytes:
        raise Unavailable("log storage: Input/output error")

    there = await api.append(*whole())
    api.printed.streams = {(run_id(), "stdout"): (b"one\n", True)}
    await api.get(f"/v1/tasks?after_position={there}")
    monkeypatch.setattr(type(api.printed), "read", unreadable)
    for query in ("", "?tail=1"):
        answer = await api.get(f"/v1/runs/{run_id()}/logs{query}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
