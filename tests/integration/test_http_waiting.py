"""Long polls and feeds: how they end, and what they leave for others while they last."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx2
import pytest
import pytest_asyncio

from adapters.queries import PgQueries
from domain.ports.querying import Allowed, Found
from tests.support.database import Database
from tests.support.histories import TASK, run_id, whole
from tests.support.http_api import Running, running

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture
async def api(pg: Database, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(pg, tmp_path / "issuer") as api:
        there = await api.append(*whole()[:4])
        assert (await api.get(f"/v1/tasks/{TASK}?after_position={there}")).status_code == 200
        yield api


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a task was looked at."""
    counted: Counter[str] = Counter()
    look = PgQueries.task

    async def counting(self: PgQueries, id: UUID, allowed: Allowed) -> Found | None:
        counted["task"] += 1
        return await look(self, id, allowed)

    monkeypatch.setattr(PgQueries, "task", counting)
    return counted


def in_one(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


async def wait_for(api: Running, polls: int) -> None:
    """Until so many callers wait."""
    async with asyncio.timeout(30):
        while api.app.state.waiting.polls != polls:
            await api.client.get("/livez")


async def test_a_poll_ends_with_its_caller(api: Running) -> None:
    at = urlsplit(api.url)
    _, writer = await asyncio.open_connection(at.hostname, at.port)
    token = api.bearer()["Authorization"]
    head = f"GET /v1/tasks/{TASK}?wait=PT60S HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n\r\n"
    writer.write(head.encode())
    await wait_for(api, 1)

    writer.close()

    await wait_for(api, 0)


async def test_polls_and_feeds_end_with_the_process_and_are_answered(api: Running) -> None:
    polls = [
        asyncio.create_task(api.get(path))
        for path in (
            f"/v1/tasks/{TASK}?wait=PT30S",
            "/v1/events?after=99&wait=PT30S",
            f"/v1/commands/{uuid4()}?wait=PT30S",
        )
    ]
    feeds = [
        asyncio.create_task(api.get(path, timeout=30))
        for path in ("/v1/stream", f"/v1/runs/{run_id()}/logs?follow=true")
    ]
    await wait_for(api, len(polls))

    api.app.state.waiting.over.set()

    async with asyncio.timeout(10):
        assert [answer.status_code for answer in await asyncio.gather(*polls)] == [200, 200, 404]
        assert [answer.status_code for answer in await asyncio.gather(*feeds)] == [200, 200]


async def test_a_feed_lasts_no_longer_than_its_token(api: Running) -> None:
    claims = {"sub": "reader", "client_id": "reader", "scope": "events:read logs:read tasks:read ns:*"}
    token = api.issuer.sign({**claims, "exp": int(time.time()) - 26})  # good for four more seconds, by the leeway
    headers = {"Authorization": f"Bearer {token}"}
    paths = ("/v1/stream?after=0", f"/v1/runs/{run_id()}/logs?follow=true")
    async with asyncio.timeout(20):
        fed = await asyncio.gather(*(api.client.get(path, headers=headers) for path in paths))
    assert [answer.status_code for answer in fed] == [200, 200]


async def test_many_polls_leave_room_for_other_questions(api: Running, looks: Counter[str]) -> None:
    many, clock = 200, asyncio.get_running_loop().time
    async with httpx2.AsyncClient(base_url=api.url, timeout=60, limits=httpx2.Limits(max_connections=many)) as client:
        headers = api.bearer()
        address = f"/v1/tasks/{TASK}?wait=PT60S"
        polls = [asyncio.create_task(client.get(address, headers=headers)) for _ in range(many)]
        await wait_for(api, many)
        looks.clear()
        began = clock()
        for number in range(20):  # news all the time, none of it theirs
            await api.append(*whole(uuid4())[:2])
            assert (await api.get(f"/v1/events?after={number}&limit=1")).status_code == 200
        seconds, looked = clock() - began, looks["task"]
        still = [poll for poll in polls if not poll.done()]
        for poll in still:
            poll.cancel()
        await asyncio.gather(*still, return_exceptions=True)
    assert len(still) == many
    # 250 a second in all, and the next one of each; without that bound 20 of each.
    assert looked < 2 * 250 * seconds + many


async def test_a_key_is_taken_for_one_body_while_nobody_has_decided(api: Running) -> None:
    headers = {**api.bearer("", "admin"), "Idempotency-Key": str(uuid4())}
    first = await api.client.post("/v1/tasks", content=b'{"executor":"noop"}', headers=headers)
    again = await api.client.post("/v1/tasks", content=b'{"executor":"noop"}', headers=headers)
    other = await api.client.post("/v1/tasks", content=b'{"executor":"noop","priority":9}', headers=headers)

    assert (first.status_code, again.status_code) == (202, 202)
    assert (other.status_code, in_one(other.text)["code"]) == (409, "id-reuse")
    assert len(api.broker.published) == 2


async def test_the_same_key_of_two_senders_is_two_commands(api: Running) -> None:
    key = str(uuid4())
    claims = {"client_id": "x", "scope": "commands:write commands:read ns:*"}
    senders = [{"Authorization": f"Bearer {api.issuer.sign({**claims, 'sub': sub})}"} for sub in ("alice", "bob")]
    for number, sender in enumerate(senders):
        body = json.dumps({"executor": "noop", "priority": number + 1})
        taken = await api.client.post("/v1/tasks", content=body, headers={**sender, "Idempotency-Key": key})
        assert taken.status_code == 202
    for sender in senders:
        assert (await api.client.get(f"/v1/commands/{key}", headers=sender)).status_code == 202
