"""The loop of every follower of the log: take what is there, deal with it, wait for more."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from domain.ports.log import Page, Seat

PAGE = 1000
IDLE_SECONDS = 1.0


async def follow(
    seat: Seat[Any],
    step: Callable[[Page], Awaitable[bool]],
    stop: asyncio.Event,
    types: list[str] | None = None,
    limit: int = PAGE,
) -> None:
    """Hand pages of at most `limit` events to `step` until `stop` is set.

    `step` moves the position; True says there is more to do at once.

    A page may be empty: `step` is called at least once a second, so that what is due by time is done too.
    """
    while not stop.is_set():
        page = await seat.page(limit, types)
        if not await step(page):
            await seat.wait(IDLE_SECONDS)
