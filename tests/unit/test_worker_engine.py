"""A worker that came up before its container engine."""

import asyncio

import pytest

from consumers.outfitting import outfit
from domain.errors import Unavailable
from infra.processes.worker import see_through
from tests.support import runs
from tests.support.docks import Dock, Platform, offer, offered
from tests.support.runs import BUSYBOX


async def test_a_worker_begins_anew_when_an_engine_answers_and_tells_before_what_it_knows() -> None:
    platform, found = Platform(), asyncio.Event()

    async def engine_found() -> None:
        await found.wait()

    working = asyncio.create_task(see_through(outfit(Dock().given(platform)), engine_found()))
    await platform.beat(1)
    platform.tell(offer(offered(executor="noop")))
    await platform.finish()
    found.set()

    with pytest.raises(Unavailable, match="container engine answers"):
        await asyncio.wait_for(working, 20)


async def test_a_worker_with_its_engine_ends_only_when_it_is_cancelled() -> None:
    platform, dock = Platform(), Dock()
    working = asyncio.create_task(see_through(outfit(dock.given(platform))))
    await platform.beat(1)
    platform.tell(offer(offered(runs.SLEEP, image=BUSYBOX)))
    await platform.start()

    working.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(working, 20)
    assert [container.state for container in await dock.left()] == ["running"]
