"""Errors as problem details (RFC 9457): one place where the tree of errors becomes status codes."""

from collections.abc import Mapping
from typing import Any, cast

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from domain.errors import (
    PROBLEMS,
    AmbiguousId,
    BadQuery,
    BadState,
    IdReused,
    InsufficientScope,
    InvalidToken,
    NotAllowed,
    NotFound,
    Rejected,
    TooLarge,
    Unavailable,
    Unreadable,
    Unroutable,
)
from domain.misfits import problem as field_problem
from domain.work import Problem

NOT_FOUND = "no such thing, or not in a namespace of this token; check the id and the namespace"
PHRASES = {400: "Bad request", 404: "Not found", 405: "Method not allowed", 413: "Content too large"}


class NoCredentials(InvalidToken):
    code, title = "no-token", "Token missing"


class TooManyRequests(Rejected):
    """`after`: seconds until it is worth another try."""

    code, title = "too-many-requests", "Too many requests"

    def __init__(self, detail: str, after: int = 1) -> None:
        super().__init__(detail)
        self.after = after


class RangeNotSatisfiable(Rejected):
    """`size`: bytes there are."""

    code, title = "range-not-satisfiable", "Range not satisfiable"

    def __init__(self, detail: str, size: int) -> None:
        super().__init__(detail)
        self.size = size


class NotYet(Rejected):
    code, title = "result-not-yet", "No result yet"


STATUS: Mapping[type[Rejected], int] = {
    BadQuery: 400,
    AmbiguousId: 400,
    InvalidToken: 401,
    InsufficientScope: 403,
    NotAllowed: 403,
    NotFound: 404,
    BadState: 409,
    IdReused: 409,
    NotYet: 409,
    TooLarge: 413,
    RangeNotSatisfiable: 416,
    TooManyRequests: 429,
}
"""What is none of these is 422: read, and refused."""


def said(code: str, title: str, detail: str, errors: tuple[dict[str, Any], ...] = ()) -> Problem:
    """A problem that only HTTP knows."""
    return Problem(type=PROBLEMS + code, title=title, detail=detail, code=code, errors=errors)


def problem(status: int, what: Problem, trace_id: str) -> Response:
    """A problem document. `trace_id` finds the request in traces and logs."""
    body = what.model_dump(mode="json") | {"status": status, "trace_id": trace_id}
    return Response(orjson.dumps(body), status, {"Cache-Control": "no-store"}, "application/problem+json")


def of_error(request: Request, error: Rejected | Unreadable | Unavailable | Unroutable) -> Response:
    """The answer to a request that failed so."""
    trace_id = trace_id_of(request)
    if isinstance(error, Unavailable | Unroutable):
        answer = problem(503, said("unavailable", "Try again later", str(error)), trace_id)
        answer.headers["Retry-After"] = "1"
        return answer
    if isinstance(error, Unreadable):
        return problem(400, said(error.reason, "Body cannot be read", error.detail), trace_id)
    status = next((code for cls, code in STATUS.items() if isinstance(error, cls)), 422)
    answer = problem(status, error.problem(), trace_id)
    if isinstance(error, TooManyRequests):
        answer.headers["Retry-After"] = str(error.after)
    if isinstance(error, TooLarge):
        answer.headers["Connection"] = "close"
    if isinstance(error, RangeNotSatisfiable):
        answer.headers["Content-Range"] = f"bytes */{error.size}"
    return answer


def of_validation(request: Request, error: Exception) -> Response:
    """A parameter that does not fit: 400 naming each."""
    found = cast("RequestValidationError", error).errors()
    errors = [{"field": str(one["loc"][-1]), "problem": field_problem(one)} for one in found]
    detail = f"{errors[0]['field']}: {errors[0]['problem']}; see /openapi.json"
    return problem(400, said("bad-query", "Bad query", detail, tuple(errors)), trace_id_of(request))


def of_http(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself: no such route, or not with this method."""
    failed = cast("HTTPException", error)
    title = PHRASES.get(failed.status_code, str(failed.detail))
    code = title.lower().replace(" ", "-")
    detail = f"{request.method} {request.url.path:.200}: {title.lower()}; see /openapi.json"
    answer = problem(failed.status_code, said(code, title, detail), trace_id_of(request))
    answer.headers.update(failed.headers or {})
    route = getattr(request.scope.get("route"), "path_format", "")
    if failed.status_code == 405 and route in request.app.state.methods:
        answer.headers["Allow"] = request.app.state.methods[route]
    return answer


def of_defect(request: Request) -> Response:
    """A defect of ours: nothing about it leaves the process but the trace id."""
    return problem(500, said("defect", "Defect", "this is our fault; tell us the trace id"), trace_id_of(request))


def trace_id_of(request: Request) -> str:
    """32 hex digits: the caller's trace, or one made for this request."""
    return cast("str", request.state.trace_id)
