"""The task types that were put."""

from typing import Annotated

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from api.http import answers
from api.http.access import allowed
from api.http.context import api_of, principal_of
from api.http.parameters import AfterPosition, InNamespace
from api.http.problems import NOT_FOUND
from api.http.route import needs, protected
from api.http.waiting import caught_up
from domain.errors import NotFound
from domain.ports.querying import Allowed
from domain.task_type import type_stream

READS = needs("tasks:read")
router = protected()


@router.get("/v1/task-types", openapi_extra=READS)
async def task_types(request: Request, namespace: InNamespace = None, after_position: AfterPosition = None) -> Response:
    """The task types that were put, by name; `shell` and `sleep` are built in besides."""
    await caught_up(request, after_position, None)
    return answers.many(request, await api_of(request).queries.task_types(allowed(request, namespace)))


@router.get("/v1/task-types/{name}", openapi_extra=READS)
async def task_type(
    request: Request,
    name: Annotated[str, Path(max_length=128)],
    namespace: InNamespace = None,
    after_position: AfterPosition = None,
) -> Response:
    """One task type of a namespace: of `default`, if none is named and the token has several."""
    await caught_up(request, after_position, None)
    where = namespace or _only(principal_of(request).namespaces)
    found = await api_of(request).queries.task_type(type_stream(where, name), allowed(request, where))
    if found is None:
        raise NotFound(NOT_FOUND)
    return answers.one(request, found, answers.tag(found))


def _only(namespaces: Allowed) -> str:
    return next(iter(namespaces)) if namespaces is not None and len(namespaces) == 1 else "default"
