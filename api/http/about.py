"""What needs no token: health, version, schemas, and where to get a token."""

import asyncio
from typing import Annotated, Any, Literal

import orjson
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from api.http.context import Check, api_of
from api.http.problems import NOT_FOUND
from api.http.route import protected
from domain.errors import NotFound, Unavailable
from domain.ports.authorising import SCOPES

router = protected()
CHECK_SECONDS = 3


@router.get("/livez")
async def livez() -> Response:
    """200 while this process answers at all."""
    return _json({"status": "ok"})


@router.get("/readyz", responses={503: {}})
async def readyz(request: Request, verbose: Annotated[Literal["", "true", "false"], Query()] = "false") -> Response:
    """200 when database and broker answer and the views are near the log. `verbose` says what of it."""
    return await _ready(request, verbose != "false")


@router.get("/startupz", responses={503: {}})
async def startupz(request: Request) -> Response:
    """200 once this process has been ready."""
    if request.app.state.started:
        return _json({"status": "ok"})
    return await _ready(request, verbose=False)


@router.get("/version")
async def version(request: Request) -> Response:
    """The version of this program."""
    return _json({"version": api_of(request).about.version})


@router.get("/v1/schemas")
async def schemas(request: Request) -> Response:
    """The types of all messages, with the addresses of their schemas."""
    types = api_of(request).about.schemas
    return _json([{"type": name, "schema": f"/v1/schemas/{name}"} for name in types])


@router.get("/v1/schemas/{type}", responses={200: {"content": {"application/schema+json": {}}}})
async def schema(request: Request, type: str) -> Response:
    """The JSON Schema (2020-12) of one message's data."""
    found = api_of(request).about.schemas.get(type)
    if found is None:
        raise NotFound(NOT_FOUND)
    return Response(orjson.dumps(found), 200, media_type="application/schema+json")


@router.get("/.well-known/oauth-protected-resource")
async def protected_resource(request: Request) -> Response:
    """RFC 9728: who issues tokens for this API, and what scopes there are."""
    about = api_of(request).about
    return _json(
        {
            "resource": about.resource,
            "authorization_servers": [about.issuer],
            "scopes_supported": [*SCOPES],
            "bearer_methods_supported": ["header"],
            "resource_name": "Tallyport",
        }
    )


async def _ready(request: Request, verbose: bool) -> Response:
    checks = api_of(request).checks
    problems = await asyncio.gather(*(_problem(check) for check in checks.values()))
    said = dict(zip(checks, problems, strict=True))
    ready = all(problem is None for problem in said.values())
    request.app.state.started |= ready
    body: dict[str, Any] = {"status": "ok" if ready else "unavailable"}
    if verbose:
        body["checks"] = {name: problem or "ok" for name, problem in said.items()}
    answer = _json(body, 200 if ready else 503)
    if not ready:
        answer.headers["Retry-After"] = "1"
    return answer


async def _problem(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Unavailable as unavailable:
        return str(unavailable)
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS} s"
    return None


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
