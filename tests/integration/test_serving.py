"""Connections on which nothing comes, or not enough, are closed; slow answers and idle callers are left alone."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from infra import impatient
from infra.serving import listening, serving

HEAD = 0.3
WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """An answer that takes longer than a head may."""
    await asyncio.sleep(2 * HEAD)
    await PlainTextResponse("done")(scope, receive, send)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impatient, "HEAD_SECONDS", HEAD)


@asynccontextmanager
async def connected() -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with serving(slow, listening("127.0.0.1", 0)) as address:
        at = urlsplit(address)
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        async with asyncio.timeout(10):
            yield reader, writer
        writer.close()


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHo"])
async def test_a_head_that_does_not_come_is_not_waited_for(begun: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(begun)
        assert await reader.read() == b""


async def test_a_head_that_drips_is_not_waited_for() -> None:
    async with connected() as (reader, writer):
        ended = asyncio.create_task(reader.read())
        writer.write(b"GET / HTTP/1.1\r\n")
        while not ended.done():
            writer.write(b"X-A: b\r\n")
            await asyncio.wait([ended], timeout=HEAD / 5)
        assert ended.result() == b""


async def test_an_answer_may_take_longer_and_another_request_may_follow() -> None:
    async with connected() as (reader, writer):
        for _ in range(2):
            writer.write(WHOLE)
            assert b"200 OK" in await reader.readuntil(b"\r\n")
            assert (await reader.readuntil(b"done")).endswith(b"done")
            await asyncio.sleep(2 * HEAD)  # idle, which is no head that is late


async def test_the_head_of_a_second_request_has_its_time_too() -> None:
    async with connected() as (reader, writer):
        writer.write(WHOLE)
        await reader.readuntil(b"done")
        writer.write(WHOLE[:-2])
        assert await reader.read() == b""
