"""A route enforces what its OpenAPI entry says: its scope, its parameters and no others; and it is a span."""

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api.http.access import MissingScope, api_rates, authorise, refused
from api.http.context import api_of, principal_of
from api.http.problems import of_error, problem, said, trace_id_of
from domain.errors import InvalidToken, Rejected, Unavailable, Unreadable, Unroutable
from domain.messages import Cause

SCHEME = "oauth2"
REPEATABLE = frozenset({"label", "status", "types"})
Handle = Callable[[Request], Coroutine[Any, Any, Response]]


def needs(scope: str) -> dict[str, Any]:
    """The OpenAPI entry of a route that `scope` protects."""
    return {"security": [{SCHEME: [scope]}]}


def takes(media_type: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The OpenAPI entry of a body that the route reads by itself."""
    return {"requestBody": {"required": True, "content": {media_type: {"schema": dict(schema)}}}}


class ProtectedRoute(APIRoute):
    """Checks token and scope, then the names of the parameters, then runs the endpoint inside a span."""

    def get_route_handler(self) -> Handle:
        handle = super().get_route_handler()
        scope = self.scope_needed()
        known = set(self._parameters())
        name = f"{next(iter(sorted(self.methods or {'GET'})))} {self.path_format}"

        async def handler(request: Request) -> Response:
            traces = api_of(request).traces
            cause = request.state.cause
            attributes: dict[str, str | int] = {
                "http.request.method": request.method,
                "http.route": self.path_format,
                "url.path": request.url.path,
            }
            with traces.step(name, cause, "server", attributes) as inside:
                _enter(request, inside)
                return await _answered(request, scope, known, handle)

        return handler

    def _parameters(self) -> Iterator[str]:
        for parameter in self.dependant.query_params:
            kind = parameter.field_info.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from (field.alias or name for name, field in kind.model_fields.items())
            else:
                yield parameter.alias

    def scope_needed(self) -> str | None:
        """The scope that the OpenAPI entry names; None: the route is open to all."""
        security = (self.openapi_extra or {}).get("security")
        return security[0][SCHEME][0] if security else None


def protected() -> APIRouter:
    """A router of such routes."""
    return APIRouter(route_class=ProtectedRoute)


def _enter(request: Request, inside: Cause) -> None:
    request.state.cause = inside
    if inside.traceparent:
        request.state.trace_id = inside.traceparent[3:35]


async def _answered(request: Request, scope: str | None, known: set[str], handle: Handle) -> Response:
    try:
        if scope is not None:
            await authorise(request, scope)
        if wrong := _wrong_parameters(request, known):
            return wrong
        answer = await handle(request)
    except (InvalidToken, MissingScope) as error:
        return refused(request, error)
    except (Rejected, Unreadable, Unavailable, Unroutable) as error:
        answer = of_error(request, error)
    except ClientDisconnect:
        return Response(status_code=400)  # to nobody
    if hasattr(request.state, "principal"):
        await _say_rate(request, answer)
    return answer


def _wrong_parameters(request: Request, known: set[str]) -> Response | None:
    given = Counter(name for name, _ in request.query_params.multi_items())
    for name, times in given.items():
        why = None
        if name not in known:
            why = f"{name:.80}: no such parameter; known: {', '.join(sorted(known)) or 'none'}"
        elif times > 1 and name not in REPEATABLE:
            why = f"{name}: given more than once; give it once"
        if why:
            errors = ({"field": name[:80], "problem": why},)
            return problem(400, said("bad-query", "Bad query", why, errors), trace_id_of(request))
    return None


async def _say_rate(request: Request, answer: Response) -> None:
    rates, bounds = api_rates(request), api_of(request).bounds
    answer.headers["RateLimit-Policy"] = f'"reads";q={bounds.reads};w=1'
    answer.headers["RateLimit"] = f'"reads";r={await rates.left(principal_of(request).subject)};t=1'
