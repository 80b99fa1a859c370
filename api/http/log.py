"""The event log for people: pages by position, and a feed that goes on from any position."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Annotated

import orjson
from fastapi import Header, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from api.http import answers
from api.http.access import allowed
from api.http.context import api_of
from api.http.feeds import PING, Quiet, feed, frame
from api.http.parameters import DECIMAL, InNamespace, Time, Types, Wait, Whole, Word, words
from api.http.route import needs, protected
from api.http.waiting import until
from domain.errors import BadQuery
from domain.ports.querying import MAX_EVENTS, Allowed, EventFilter, Read

READS = needs("events:read")
router = protected()


class LogQuery(BaseModel):
    """What narrows the log."""

    types: Types = []
    namespace: InNamespace = None
    correlation: Word | None = None
    actor: Word | None = None

    def wanted(self, reach: Allowed, after: int, limit: int) -> EventFilter:
        """The filter, within what the caller may see."""
        return EventFilter(
            allowed=reach,
            after=after,
            types=words(self.types),
            correlation=self.correlation,
            actor=self.actor,
            limit=limit,
        )


class PageQuery(LogQuery):
    """Which page of it."""

    after: Whole = Field(default=0, description="Only what comes after this position")
    limit: Whole = Field(default=100, ge=1, le=MAX_EVENTS)
    since: Time | None = Field(default=None, alias="from", description="Recorded at or after this time")
    to: Time | None = Field(default=None, description="Recorded at or before this time")
    wait: Wait = None


class StreamQuery(LogQuery):
    """Where it begins."""

    after: Whole | None = Field(default=None, description="Begin after this position; left out: from now on")


@router.get("/v1/events", openapi_extra=READS)
async def events(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """The log in its one order. `X-Position`: all that was asked for at or below it is here, or was before."""
    api, reach = api_of(request), allowed(request, query.namespace)
    wanted = replace(query.wanted(reach, query.after, query.limit), since=query.since, until=query.to)

    async def look() -> Read:
        return await api.queries.events(wanted)

    return answers.log_page(request, await until(request, look, lambda read: read.count > 0, query.wait), "after")


@router.get("/v1/stream", openapi_extra=READS, responses={200: {"content": {"text/event-stream": {}}}})
async def stream(
    request: Request,
    query: Annotated[StreamQuery, Query()],
    last_event_id: Annotated[str | None, Header(description="The last position seen: carries on after it")] = None,
) -> Response:
    """The log as server-sent events: `id` is the position, `event` the type, `data` the event as in /v1/events."""
    wanted = query.wanted(allowed(request, query.namespace), 0, MAX_EVENTS)
    # No event has this type: only the end of the log is asked for.
    end = (await api_of(request).queries.events(replace(wanted, types=("-",), limit=1))).up_to
    begin = query.after if last_event_id is None else _position(last_event_id, end)
    return feed(request, _frames(request, replace(wanted, after=end if begin is None else begin)))


def _position(given: str, end: int) -> int:
    if not DECIMAL.fullmatch(given):
        raise BadQuery("Last-Event-ID: not a position; send the id of the last event seen, or leave it out")
    if int(given) > end:
        raise BadQuery(f"Last-Event-ID: {given} lies ahead of the log, which ends at {end}; is it of another log?")
    return int(given)


async def _frames(request: Request, wanted: EventFilter) -> AsyncGenerator[bytes]:
    quiet, queries = Quiet(request), api_of(request).queries
    yield b"retry: 1000\n\n"
    while not quiet.is_over():
        read = await queries.events(wanted)
        for event in orjson.loads(read.body):
            yield frame(orjson.dumps(event).decode(), event["type"], str(event["position"]))
            quiet.spoke()
        wanted = replace(wanted, after=read.up_to)
        if quiet.ping_is_due():
            yield PING
        if read.count < wanted.limit:
            await quiet.news()
