"""Long polls: until something is there, or the caller's time is over."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from api.http.context import Api
from api.http.parameters import LONGEST_WAIT
from domain.errors import Unavailable

LOOK_ANYWAY = 0.5
CATCH_UP = timedelta(seconds=1)
T = TypeVar("T")


async def until(api: Api, look: Callable[[], Awaitable[T]], enough: Callable[[T], bool], wait: timedelta | None) -> T:
    """What `look` sees once it is `enough`, or what it sees when `wait` is over. Looks at least once."""
    clock = asyncio.get_running_loop().time
    end = clock() + min(wait or timedelta(0), LONGEST_WAIT).total_seconds()
    while True:
        seen = await look()
        left = end - clock()
        if enough(seen) or left <= 0:
            return seen
        await api.watch.changed(min(left, LOOK_ANYWAY))


async def caught_up(api: Api, position: int | None, wait: timedelta | None) -> None:
    """Return once the views have got to `position`. Raises Unavailable if they have not within `wait`, or 1 s."""
    if position is None:
        return
    head = await until(api, api.queries.head, lambda head: head >= position, wait or CATCH_UP)
    if head < position:
        raise Unavailable(f"after_position: the views are at {head}, {position - head} behind; try again")
