"""What the API says of its own health, however silent what it leans on is."""

import asyncio
from typing import Any, cast

import httpx2
import pytest

from adapters.in_memory.traces import NoTraces
from api.http import about
from api.http.app import create_app
from api.http.context import About, Api, Check
from domain.errors import Unavailable


async def well() -> None:
    pass


async def broken() -> None:
    raise Unavailable("the database does not answer")


async def silent() -> None:
    await asyncio.Event().wait()


async def asked(path: str, **checks: Check) -> httpx2.Response:
    unused = cast("Any", None)
    said = About("1", "http://issuer.test", "http://api.test", {})
    api = Api(unused, unused, unused, unused, unused, unused, NoTraces(), unused, said, checks=checks)
    transport = httpx2.ASGITransport(create_app(api))
    async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as client:
        return await client.get(path)


async def test_a_check_that_says_nothing_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(about, "CHECK_SECONDS", 0.05)
    async with asyncio.timeout(5):
        ready = await asked("/readyz?verbose", database=broken, broker=silent, views=silent)
    assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
    assert ready.json()["checks"] == {
        "database": "the database does not answer",
        "broker": "no answer within 0.05 s",
        "views": "no answer within 0.05 s",
    }


async def test_a_process_that_is_well_is_ready_and_alive_when_it_is_not() -> None:
    assert (await asked("/readyz", database=well)).json() == {"status": "ok"}
    assert (await asked("/livez", database=broken)).status_code == 200
    assert (await asked("/startupz", database=broken)).status_code == 503
