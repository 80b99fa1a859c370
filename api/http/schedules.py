"""Schedules: lists, one, when it fires next and what became of its last times."""

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from api.http import answers
from api.http.access import allowed, stream_of
from api.http.context import api_of
from api.http.parameters import AfterPosition, Cursor, InNamespace, Whole
from api.http.problems import NOT_FOUND
from api.http.route import needs, protected
from api.http.waiting import caught_up
from domain.errors import NotFound
from domain.firing import times
from domain.ports.querying import MAX_TASKS, Allowed, Found
from domain.schedule_spec import ScheduleSpec

READS = needs("schedules:read")
router = protected()
Few = Annotated[Whole, Field(ge=0, le=100)]


@router.get("/v1/schedules", openapi_extra=READS)
async def schedules(
    request: Request,
    namespace: InNamespace = None,
    limit: Annotated[Whole, Query(ge=1, le=MAX_TASKS)] = 50,
    cursor: Cursor = None,
    after_position: AfterPosition = None,
) -> Response:
    """A page of schedules, by name, without those that are deleted."""
    api = api_of(request)
    await caught_up(request, after_position, None)
    return answers.many(request, await api.queries.schedules(allowed(request, namespace), limit, cursor))


@router.get("/v1/schedules/{schedule_id}", openapi_extra=READS)
async def schedule(
    request: Request, schedule_id: str, namespace: InNamespace = None, after_position: AfterPosition = None
) -> Response:
    """One schedule, by id or name."""
    await caught_up(request, after_position, None)
    found, _ = await _found(request, schedule_id, namespace)
    return answers.one(request, found, answers.tag(found))


@router.get("/v1/schedules/{schedule_id}/fires", openapi_extra=READS)
async def fires(
    request: Request,
    schedule_id: str,
    namespace: InNamespace = None,
    next: Annotated[Few, Query(description="How many of the times to come; a paused schedule has none")] = 10,
    last: Annotated[Few, Query(description="How many of the last that were fired or skipped")] = 10,
) -> Response:
    """When it fires next, and what became of its last times."""
    found, reach = await _found(request, schedule_id, namespace)
    whole = orjson.loads(found.body)
    coming: list[datetime] = []
    if whole["status"] == "active":
        rule = ScheduleSpec.model_validate(whole["spec"]).rule
        coming = list(islice(times(rule, datetime.now(UTC)), next))
    listed = await api_of(request).queries.fires(UUID(whole["id"]), reach, last) if last else None
    body = {"next": coming, "last": orjson.loads(listed.body) if listed else []}
    content = orjson.dumps(body, option=orjson.OPT_UTC_Z)
    return Response(content, 200, {"X-Position": str(found.head)}, "application/json")


async def _found(request: Request, ref: str, namespace: str | None) -> tuple[Found, Allowed]:
    stream, reach = await stream_of(request, "schedule", ref, namespace)
    found = await api_of(request).queries.schedule(stream, reach)
    if found is None:
        raise NotFound(NOT_FOUND)
    return found, reach
