"""Server-sent events: a generator of frames becomes an answer that keeps itself alive and counts as an open feed."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.http.access import api_rates
from api.http.context import api_of, principal_of
from api.http.waiting import waiting_in
from domain.errors import Rejected, Unavailable

PING_SECONDS = 15.0
LOOK_ANYWAY = 0.5
PING = b": ping\n\n"


def frame(data: str, event: str | None = None, id: str | None = None) -> bytes:
    """One event. `data` of several lines stays so."""
    lines = [f"id: {id}"] if id is not None else []
    if event is not None:
        lines.append(f"event: {event}")
    lines += [f"data: {line}" for line in data.split("\n")]
    return ("\n".join(lines) + "\n\n").encode()


def feed(request: Request, frames: AsyncGenerator[bytes]) -> StreamingResponse:
    """An event stream of `frames`. Raises TooManyRequests when the caller has enough feeds open.

    An outage ends the stream: the client comes back with `Last-Event-ID`.
    """
    rates, subject = api_rates(request), principal_of(request).subject
    rates.open_feed(subject)

    async def kept() -> AsyncGenerator[bytes]:
        try:
            async for part in frames:
                yield part
        except (Unavailable, Rejected):
            return

    async def close() -> None:
        rates.close_feed(subject)
        await whole.aclose()
        await frames.aclose()

    whole = kept()
    return Feed(whole, close)


class Feed(StreamingResponse):
    """An event stream that is closed however it ends, and even if it never begins."""

    def __init__(self, frames: AsyncIterator[bytes], close: Callable[[], Awaitable[None]]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(frames, 200, headers, "text/event-stream")
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._close()


class Quiet:
    """Waits for news, and says when a ping is due and when the feed is over."""

    def __init__(self, request: Request) -> None:
        self._watch, self._waiting = api_of(request).watch, waiting_in(request)
        self._ends = principal_of(request).ends
        self._clock = asyncio.get_running_loop().time
        self._spoke = self._clock()

    def is_over(self) -> bool:
        """Whether this process ends, or the token would open no new feed. The client comes back with another one."""
        return self._waiting.over.is_set() or time.time() >= self._ends

    def spoke(self) -> None:
        """Something was sent."""
        self._spoke = self._clock()

    def ping_is_due(self) -> bool:
        """Whether nothing was sent for so long that the other side may think this one gone."""
        due = self._clock() - self._spoke >= PING_SECONDS
        if due:
            self.spoke()
        return due

    async def news(self) -> None:
        """Wait until there may be news, a moment at most."""
        await self._watch.changed(LOOK_ANYWAY)
