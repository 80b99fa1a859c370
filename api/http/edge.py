"""The outermost layer: what no route needs to know of, and headers that every answer carries."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from secrets import token_hex

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.context import Api
from api.http.problems import of_defect, problem, said
from domain.errors import TooLarge
from domain.messages import Cause

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
LONGEST_TOKEN = 8 * 1024 + len("Bearer ")
LONGEST_HEADERS = 32 * 1024
LONGEST_TARGET = 16 * 1024
ROOM_FOR_THE_ENVELOPE = 64 << 10
DRAINED_AT_MOST, DRAINED_FOR = 8 << 20, 5.0
SAFE: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
log = logging.getLogger(__name__)


class Edge:
    """Gives each request its trace, refuses what is too large or for another host, and marks the answer."""

    def __init__(self, app: ASGIApp, api: Api) -> None:
        self._app, self._hosts, self._measures = app, api.about.hosts, api.measures
        self._largest = api.bounds.max_workflow + ROOM_FOR_THE_ENVELOPE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, headers = time.perf_counter(), Headers(scope=scope)
        request = Request(scope, receive)
        request.state.cause, request.state.trace_id = _trace(headers)

        started, inner = False, _as_get(scope)

        async def marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started, seconds = True, time.perf_counter() - began
                _mark(MutableHeaders(scope=message), seconds)
                if self._measures is not None:
                    self._measures.answered(scope["method"], _template(inner), message["status"], seconds)
            await send(message)

        refusal = self._refusal(scope, headers, request.state.trace_id)
        if refusal is not None:
            await _drain(headers, receive)
        send_on = _without_body(marked) if scope["method"] == "HEAD" else marked
        try:
            await (refusal or self._app)(inner, _bounded(receive, self._largest), send_on)
        except _HeadersSent:
            return
        except Exception:
            if started:
                raise
            log.exception("defect, trace id %s", request.state.trace_id)
            await of_defect(request)(scope, receive, marked)

    def _refusal(self, scope: Scope, headers: Headers, trace_id: str) -> Response | None:
        if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_TARGET:
            why = f"more than {LONGEST_TARGET} bytes; ask for less at once"
            return _closing(problem(414, said("address-too-long", "Address too long", why), trace_id))
        if any(len(value) > LONGEST_TOKEN for value in headers.getlist("authorization")):
            why = "Authorization is longer than 8 KiB; ask the issuer for a smaller token"
            return _closing(problem(431, said("header-too-large", "Headers too large", why), trace_id))
        if sum(len(name) + len(value) for name, value in headers.raw) > LONGEST_HEADERS:
            return _closing(problem(431, said("header-too-large", "Headers too large", "more than 32 KiB"), trace_id))
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > self._largest:
            why = f"the body has {length:.20} bytes; at most {self._largest} are taken; pass large data by reference"
            return _closing(problem(413, said("too-large", "Body too large", why), trace_id))
        host = _name(headers.get("host", ""))
        if self._hosts is not None and host not in self._hosts:
            return problem(421, said("unknown-host", "Unknown host", f"{host:.80} is not this API's name"), trace_id)
        return None


async def _drain(headers: Headers, receive: Receive) -> None:
    """Take what is still being sent, within reason: a sender that is cut off never reads the answer."""
    length = headers.get("content-length", "0")
    if "expect" in headers or not length.isdigit() or not 0 < int(length) <= DRAINED_AT_MOST:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAINED_FOR):
            while (await receive()).get("more_body", False):
                pass


class _HeadersSent(Exception):
    """All that HEAD asks for is there: the answer goes no further, were it a feed."""


def _as_get(scope: Scope) -> Scope:
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope


def _without_body(send: Send) -> Send:
    async def headers_alone(message: Message) -> None:
        await send(message)
        await send({"type": "http.response.body"})
        raise _HeadersSent

    return headers_alone


def _bounded(receive: Receive, largest: int) -> Receive:
    """`receive` of at most `largest` bytes: not every body says its length beforehand. Raises TooLarge."""
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        while largest < taken <= DRAINED_AT_MOST and message.get("more_body", False):
            message = await receive()
            taken += len(message.get("body", b""))
        if taken > largest:
            raise TooLarge(f"the body has more than {largest} bytes; pass large data by reference")
        return message

    return bounded


def _trace(headers: Headers) -> tuple[Cause, str]:
    given = headers.getlist("traceparent")
    parent = given[0] if len(given) == 1 and TRACEPARENT.fullmatch(given[0]) else None
    trace_id = parent[3:35] if parent else token_hex(16)
    state = ",".join(headers.getlist("tracestate"))[:512] or None if parent else None
    return Cause(trace_id, trace_id, "anonymous", parent, state), trace_id


def _mark(headers: MutableHeaders, seconds: float) -> None:
    for name, value in SAFE.items():
        headers.setdefault(name, value)
    headers["Vary"] = "Authorization, Accept-Encoding"
    headers.setdefault("Cache-Control", "private, no-cache")
    timing = f"total;dur={seconds * 1000:.1f}"
    headers["Server-Timing"] = f"{headers['Server-Timing']}, {timing}" if "Server-Timing" in headers else timing


def _template(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path_format", "-"))


def _name(host: str) -> str:
    return host.rsplit(":", 1)[0].lower() if not host.endswith("]") else host.lower()


def _closing(answer: Response) -> Response:
    answer.headers["Connection"] = "close"
    return answer
