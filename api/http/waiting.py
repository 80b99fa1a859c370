"""Long polls: until something is there, or the caller's time is over, or he is gone, or this process ends."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar, cast

from starlette.requests import Request

from api.http.context import api_of
from api.http.parameters import LONGEST_WAIT
from domain.errors import Unavailable

LOOK_ANYWAY = 0.5
LOOK_EVERY = 0.004
CATCH_UP = timedelta(seconds=1)
T = TypeVar("T")


@dataclass(slots=True)
class Waiting:
    """Who waits in this process. `over`: nobody may any longer, for it ends."""

    polls: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until all is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self.over.wait()


def waiting_in(request: Request) -> Waiting:
    """Those of this application."""
    return cast("Waiting", request.app.state.waiting)


async def until(
    request: Request, look: Callable[[], Awaitable[T]], enough: Callable[[T], bool], wait: timedelta | None
) -> T:
    """What `look` sees once it is `enough`, or what it sees when waiting is over. Looks at least once."""
    watch, waiting, clock = api_of(request).watch, waiting_in(request), asyncio.get_running_loop().time
    end = clock() + min(wait or timedelta(0), LONGEST_WAIT).total_seconds()
    waiting.polls += 1
    try:
        while True:
            looked = clock()
            seen = await look()
            if enough(seen) or clock() >= end or waiting.over.is_set() or await request.is_disconnected():
                return seen
            await watch.changed(min(end - clock(), LOOK_ANYWAY))
            # However fast the log grows, and however many wait: other questions are to be answered, too.
            await waiting.pause(min(end, looked + LOOK_EVERY * waiting.polls) - clock())
    finally:
        waiting.polls -= 1


async def caught_up(request: Request, position: int | None, wait: timedelta | None) -> None:
    """Return once the views have got to `position`. Raises Unavailable if they have not within `wait`, or 1 s."""
    if position is None:
        return
    head = await until(request, api_of(request).queries.head, lambda head: head >= position, wait or CATCH_UP)
    if head < position:
        raise Unavailable(f"after_position: the views are at {head}, {position - head} behind; try again")
