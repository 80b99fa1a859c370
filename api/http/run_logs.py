"""What a run printed, as bytes or as a feed."""

import asyncio
import codecs
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import orjson
from fastapi import Header, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.http import answers
from api.http.access import stream_of
from api.http.context import Api, api_of
from api.http.feeds import PING, Quiet, feed, frame
from api.http.parameters import AfterPosition, InNamespace, Whole
from api.http.problems import NOT_FOUND, RangeNotSatisfiable
from api.http.route import needs, protected
from api.http.waiting import caught_up
from domain.errors import BadQuery, NotFound
from domain.ports.logkeeping import LogStream, StreamEnd
from domain.ports.querying import Allowed, Found

router = protected()
PIECE = 256 * 1024
LOOK_AGAIN = 0.2
GIVEN_UP_AFTER = timedelta(seconds=10)
TAIL_AT_MOST = 1 << 20
STREAMS: tuple[LogStream, ...] = ("stdout", "stderr")
ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
RESUME = re.compile(r"stdout=(\d{1,18}),stderr=(\d{1,18})")
Ends: TypeAlias = dict[LogStream, StreamEnd]
Parts: TypeAlias = list[tuple[LogStream, int, int]]


class PrintedQuery(BaseModel):
    """Which part of what a run printed, and how."""

    stream: LogStream | None = Field(default=None, description="One stream; left out: stdout, then stderr")
    tail: Annotated[Whole, Field(le=100_000)] | None = Field(
        default=None, description="Only the last lines of each stream, of at most 1 MiB"
    )
    follow: bool = Field(default=False, description="As server-sent events, until the run has ended")
    namespace: InNamespace = None


@router.get("/v1/runs/{run_id}", openapi_extra=needs("tasks:read"))
async def run(
    request: Request,
    run_id: str,
    namespace: InNamespace = None,
    after_position: AfterPosition = None,
) -> Response:
    """One run."""
    await caught_up(request, after_position, None)
    found = (await _run(request, run_id, namespace))[1]
    return answers.one(request, found, answers.tag(found))


@router.get(
    "/v1/runs/{run_id}/logs",
    openapi_extra=needs("logs:read"),
    responses={200: {"content": {"text/plain": {}, "text/event-stream": {}}}, 206: {}, 416: {}},
)
async def logs(
    request: Request,
    run_id: str,
    query: Annotated[PrintedQuery, Query()],
    range: Annotated[str | None, Header()] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """What a run printed. With `follow` the data of `log` is {stream, offset, text}, of `end` {status, exit_code}.

    What is no UTF-8 is marked in `text` and whole in `base64`, which is there for nothing else.
    """
    api = api_of(request)
    run_uuid, _, reach = await _run(request, run_id, query.namespace)
    which = STREAMS if query.stream is None else (query.stream,)
    ends: Ends = {name: end for name, end in (await api.logs.ends(run_uuid)).items() if name in which}
    starts = await _starts(api, run_uuid, ends, query.tail, last_event_id if query.follow else None)
    if query.follow:
        return feed(request, _followed(request, (run_uuid, reach), which, starts))
    if query.tail is not None:
        parts: Parts = [(name, starts.get(name, 0), ends[name].bytes) for name in which if name in ends]
        return await _plain(_bytes(api, run_uuid, parts), 200, {})
    return await _ranged(api, run_uuid, ends, range)


async def _ranged(api: Api, run: UUID, ends: Ends, given: str | None) -> Response:
    size = sum(end.bytes for end in ends.values())
    asked = ONE_RANGE.fullmatch(given) if given else None
    first, last, status = 0, size - 1, 200
    headers = {"Accept-Ranges": "bytes"}
    if asked and (asked[1] or asked[2]) and not (asked[1] and asked[2] and int(asked[1]) > int(asked[2])):
        first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
        last = min(size - 1, int(asked[2])) if asked[1] and asked[2] else size - 1
        if first > last:
            raise RangeNotSatisfiable(f"Range: there are {size} bytes; ask for less than that", size)
        status, headers["Content-Range"] = 206, f"bytes {first}-{last}/{size}"
    parts: Parts = []
    begin = 0
    for name in STREAMS:
        here = ends.get(name)
        end = begin + (here.bytes if here else 0)
        parts.append((name, max(first, begin) - begin, min(last + 1, end) - begin))
        begin = end
    headers["Content-Length"] = str(last - first + 1)
    return await _plain(_bytes(api, run, parts), status, headers)


async def _plain(content: AsyncGenerator[bytes], status: int, headers: dict[str, str]) -> Response:
    """An answer of these bytes. Raises Unavailable if not even the first of them can be read."""
    # Never rendered: what a container prints may be HTML.
    safe = {**headers, "Content-Disposition": 'attachment; filename="log.txt"'}
    first = await anext(content, b"")
    return StreamingResponse(_followed_by(first, content), status, safe, "text/plain; charset=utf-8")


async def _followed_by(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _bytes(api: Api, run: UUID, parts: Parts) -> AsyncGenerator[bytes]:
    for name, start, end in parts:
        at = start
        while at < end and (piece := await api.logs.read(run, name, at, min(PIECE, end - at))):
            yield piece
            at += len(piece)


async def _starts(api: Api, run: UUID, ends: Ends, tail: int | None, resume: str | None) -> dict[LogStream, int]:
    """Where each stream begins for this reader."""
    if resume is not None:
        found = RESUME.fullmatch(resume)
        if not found:
            raise BadQuery("Last-Event-ID: send the id of the last event seen, or leave it out")
        return {"stdout": int(found[1]), "stderr": int(found[2])}
    if tail is None:
        return {}
    starts: dict[LogStream, int] = {}
    for name, end in ends.items():
        begin = max(0, end.bytes - TAIL_AT_MOST)
        text = b"".join([piece async for piece in _bytes(api, run, [(name, begin, end.bytes)])])
        lines = text.splitlines(keepends=True)
        starts[name] = end.bytes - sum(map(len, lines[-tail:] if tail else []))
    return starts


async def _followed(
    request: Request, run: tuple[UUID, Allowed], which: tuple[LogStream, ...], at: dict[LogStream, int]
) -> AsyncGenerator[bytes]:
    api, quiet, (run_uuid, reach) = api_of(request), Quiet(request), run
    while not quiet.is_over():
        found = await api.queries.run(run_uuid, reach)
        complete = found is None or _all_stored(orjson.loads(found.body), (await api.logs.ends(run_uuid)).values())
        for name in which:
            while piece := await api.logs.read(run_uuid, name, at.get(name, 0), PIECE):
                length, text = _text(piece, ends=complete and len(piece) < PIECE)
                if not length:
                    break
                data = {"stream": name, "offset": at.get(name, 0), "text": text}
                if text.encode() != piece[:length]:
                    data["base64"] = b64encode(piece[:length]).decode()
                at[name] = at.get(name, 0) + length
                place = f"stdout={at.get('stdout', 0)},stderr={at.get('stderr', 0)}"
                yield frame(orjson.dumps(data).decode(), "log", place)
                quiet.spoke()
        if complete:
            yield frame(_end(found), "end")
            return
        if quiet.ping_is_due():
            yield PING
        await asyncio.sleep(LOOK_AGAIN)


def _text(piece: bytes, ends: bool) -> tuple[int, str]:
    """The bytes of `piece` up to a character that may go on after it (`ends`: all), how many and as text."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(piece, ends)
    return len(piece) - len(decoder.getstate()[0]), text


def _all_stored(run: Mapping[str, Any], ends: Collection[StreamEnd]) -> bool:
    """Whether nothing more of a run's output will come: what is stored is then all that is to be read."""
    if run["ended_at"] is None:
        return False
    if run["log_bytes"] is not None and sum(end.bytes for end in ends) >= run["log_bytes"]:
        return True
    if run["log_bytes"] is None and all(end.last for end in ends):
        return True
    return datetime.now(UTC) - datetime.fromisoformat(run["ended_at"]) > GIVEN_UP_AFTER


def _end(found: Found | None) -> str:
    run: dict[str, Any] = orjson.loads(found.body) if found else {}
    return orjson.dumps({"status": run.get("status"), "exit_code": run.get("exit_code")}).decode()


async def _run(request: Request, ref: str, namespace: str | None) -> tuple[UUID, Found, Allowed]:
    run, reach = await stream_of(request, "run", ref, namespace)
    found = await api_of(request).queries.run(run, reach)
    if found is None:
        raise NotFound(NOT_FOUND)
    return run, found, reach
