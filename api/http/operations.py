"""For operators: workers, limits, followers of the log, dead letters."""

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from api.http import answers
from api.http.access import MissingScope, may_name
from api.http.context import api_of, principal_of
from api.http.parameters import Cursor, Whole
from api.http.problems import NOT_FOUND
from api.http.route import needs, protected
from domain.errors import NotFound
from domain.messages import is_uuid
from domain.ports.querying import MAX_TASKS

READS = needs("ops:read")
router = protected()


@router.get("/v1/workers", openapi_extra=READS)
async def workers(request: Request) -> Response:
    """Every worker, with the runs it holds in the namespaces of the token."""
    return answers.page(request, await api_of(request).queries.workers(principal_of(request).namespaces))


@router.get("/v1/workers/{worker_id}", openapi_extra=READS)
async def worker(request: Request, worker_id: str) -> Response:
    """One worker, by its name."""
    queries, reach = api_of(request).queries, principal_of(request).namespaces
    found = await queries.worker(worker_id, reach) if may_name(worker_id) else None
    if found is None:
        raise NotFound(NOT_FOUND)
    return Response(found.body, 200, {"X-Position": str(found.head)}, "application/json")


@router.get("/v1/limits", openapi_extra=needs("tasks:read"))
async def limits(request: Request) -> Response:
    """The limits that were set in the namespaces of the token, and those of pools."""
    return answers.page(request, await api_of(request).queries.limits(principal_of(request).namespaces))


@router.get("/v1/projections", openapi_extra=READS)
async def projections(request: Request) -> Response:
    """Every follower of the log: its position, and how far and how long it is behind."""
    return answers.page(request, await api_of(request).queries.projections())


@router.get("/v1/dead-letters", openapi_extra=READS)
async def dead_letters(
    request: Request,
    limit: Annotated[Whole, Query(ge=1, le=MAX_TASKS)] = 50,
    cursor: Cursor = None,
) -> Response:
    """Messages that could not be judged, the newest first. They belong to no namespace: `ns:*` is needed."""
    _reaches_all(request)
    return answers.page(request, await api_of(request).dead_letters.listed(limit, cursor))


@router.get("/v1/dead-letters/{letter_id}", openapi_extra=READS)
async def dead_letter(request: Request, letter_id: str) -> Response:
    """One of them, with its headers and body; secrets are masked."""
    _reaches_all(request)
    letter = is_uuid(letter_id)
    found = await api_of(request).dead_letters.one(letter) if letter else None
    if found is None:
        raise NotFound(NOT_FOUND)
    return answers.one(request, found, answers.tag(found))


def _reaches_all(request: Request) -> None:
    if principal_of(request).namespaces is not None:
        raise MissingScope("ns:*")
