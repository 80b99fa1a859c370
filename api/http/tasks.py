"""Tasks and workflows: lists, one, its events, runs and result."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated

import orjson
from fastapi import Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from api.http import answers
from api.http.access import allowed, stream_of
from api.http.context import api_of
from api.http.parameters import (
    AfterPosition,
    Cursor,
    InNamespace,
    Time,
    Types,
    Wait,
    Whole,
    Word,
    labels,
    words,
)
from api.http.problems import NOT_FOUND, NotYet
from api.http.route import needs, protected
from api.http.waiting import caught_up, until
from domain.errors import NotFound
from domain.explaining import explain
from domain.graph import FARTHEST, drawn
from domain.ports.querying import MAX_EVENTS, MAX_TASKS, Allowed, Found, Kind, Read, TaskFilter

READS = needs("tasks:read")
router = protected()
Limit = Annotated[Whole, Field(ge=1, le=MAX_TASKS)]
MARKS: Mapping[Kind, Callable[[Found], str]] = {"task": answers.tag, "workflow": answers.graph_tag}


class TaskQuery(BaseModel):
    """What narrows and orders a list of tasks."""

    namespace: InNamespace = None
    status: list[str] = Field(default=[], description="Repeated or with commas; pending, completed, open and ended too")
    name: Word | None = None
    label: list[str] = Field(default=[], description="name=value, or name alone; repeated: all must fit")
    task_type: Word | None = None
    worker: Word | None = None
    workflow: Word | None = None
    parent: Word | None = None
    created_after: Time | None = None
    created_before: Time | None = None
    sort: str = Field(default="-created_at", description="created_at updated_at priority name; - in front: last first")
    limit: Limit = 50
    cursor: Cursor = None
    offset: Annotated[Whole, Field(le=100_000)] = 0
    after_position: AfterPosition = None

    def wanted(self, reach: Allowed) -> TaskFilter:
        """The filter, within what the caller may see."""
        return TaskFilter(
            allowed=reach,
            status=words(self.status),
            name=self.name,
            labels=labels(self.label),
            task_type=self.task_type,
            worker=self.worker,
            workflow=self.workflow,
            parent=self.parent,
            created_after=self.created_after,
            created_before=self.created_before,
            sort=self.sort,
            limit=self.limit,
            cursor=self.cursor,
            offset=self.offset,
        )


@router.get("/v1/tasks", openapi_extra=READS)
async def tasks(request: Request, query: Annotated[TaskQuery, Query()]) -> Response:
    """A page of tasks, the newest first; `Link: rel="next"` leads on."""
    api = api_of(request)
    wanted = query.wanted(allowed(request, query.namespace))
    await caught_up(request, query.after_position, None)
    return answers.many(request, await api.queries.tasks(wanted))


@router.get("/v1/tasks/{task_id}", openapi_extra=READS)
async def task(
    request: Request,
    task_id: str,
    namespace: InNamespace = None,
    wait: Wait = None,
    after_position: AfterPosition = None,
) -> Response:
    """One task, by id, beginning of its id, or name. `wait`: until it has ended or is newer than `If-None-Match`."""
    await caught_up(request, after_position, wait)
    found = await _found(request, "task", task_id, namespace, wait)
    return answers.one(request, found, MARKS["task"](found))


@router.get("/v1/workflows", openapi_extra=READS)
async def workflows(
    request: Request,
    namespace: InNamespace = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    after_position: AfterPosition = None,
) -> Response:
    """A page of workflows, the newest first."""
    api = api_of(request)
    await caught_up(request, after_position, None)
    return answers.many(request, await api.queries.workflows(allowed(request, namespace), limit, cursor))


class GraphQuery(BaseModel):
    """Which of a workflow's tasks are asked for, and when."""

    namespace: InNamespace = None
    around: Annotated[Word | None, Field(description="Only the nodes around this task, by name or id")] = None
    hops: Annotated[
        Annotated[Whole, Field(le=FARTHEST)] | None,
        Field(description="With `around`: how many dependencies away, either way; 1 if left out"),
    ] = None
    wait: Wait = None
    after_position: AfterPosition = None


@router.get("/v1/workflows/{workflow_id}", openapi_extra=READS)
async def workflow(request: Request, workflow_id: str, query: Annotated[GraphQuery, Query()]) -> Response:
    """A workflow with its tasks as nodes and edges, and in ranks: a task stands behind the last that it needs."""
    await caught_up(request, query.after_position, query.wait)
    found = await _found(request, "workflow", workflow_id, query.namespace, query.wait)
    shown = drawn(orjson.loads(found.body), query.around, query.hops)
    return answers.one(request, found, MARKS["workflow"](found), orjson.dumps(shown))


class HistoryQuery(BaseModel):
    """What narrows a task's history."""

    namespace: InNamespace = None
    types: Types = []
    after_version: Whole = 0
    limit: Annotated[Whole, Field(ge=1, le=MAX_EVENTS)] = 100
    wait: Wait = None


@router.get("/v1/tasks/{task_id}/events", openapi_extra=needs("events:read"))
async def events(request: Request, task_id: str, query: Annotated[HistoryQuery, Query()]) -> Response:
    """A task's history in order. `wait`: until there is an event after `after_version`."""
    api, types = api_of(request), words(query.types)
    stream, reach = await stream_of(request, "task", task_id, query.namespace)

    async def look() -> Read | None:
        return await api.queries.task_events(stream, reach, query.after_version, types, query.limit)

    read = await until(request, look, lambda read: read is None or read.count > 0, query.wait)
    if read is None:
        raise NotFound(NOT_FOUND)
    return answers.log_page(request, read, "after_version")


@router.get("/v1/tasks/{task_id}/runs", openapi_extra=READS)
async def runs(
    request: Request, task_id: str, namespace: InNamespace = None, after_position: AfterPosition = None
) -> Response:
    """A task's runs by number."""
    api = api_of(request)
    await caught_up(request, after_position, None)
    stream, reach = await stream_of(request, "task", task_id, namespace)
    listed = await api.queries.task_runs(stream, reach)
    if listed is None:
        raise NotFound(NOT_FOUND)
    return answers.many(request, listed)


@router.get("/v1/tasks/{task_id}/explain", openapi_extra=READS)
async def explained(
    request: Request, task_id: str, namespace: InNamespace = None, after_position: AfterPosition = None
) -> Response:
    """Why a task stands as it does: all that it waits for, who has it, or why it ended."""
    api = api_of(request)
    await caught_up(request, after_position, None)
    stream, reach = await stream_of(request, "task", task_id, namespace)
    known = await api.explaining.known(stream, reach)
    if known is None:
        raise NotFound(NOT_FOUND)
    explanation = await asyncio.to_thread(explain, known)  # with thousands of workers and lanes it takes seconds
    said = explanation.said()
    return Response(orjson.dumps(said), 200, {"X-Position": str(said["position"])}, "application/json")


@router.get("/v1/tasks/{task_id}/result", openapi_extra=READS)
async def result(request: Request, task_id: str, namespace: InNamespace = None, wait: Wait = None) -> Response:
    """What the task left, or took from the one it names (`cached_from`): its result, and where its artifacts are; 409
    before it has ended."""
    found = await _found(request, "task", task_id, namespace, wait)
    whole = orjson.loads(found.body)
    if whole["completed_at"] is None:
        raise NotYet(f"the task is {whole['status']}; its result comes with its end; add wait=PT30S")
    said = {"task_id": whole["task_id"], "id": whole["id"], "status": whole["status"]}
    left = {"result": whole["result"], "artifacts": whole["artifacts"]}
    content = orjson.dumps({**said, "exit_code": whole["exit_code"], **left, "cached_from": whole["cached_from"]})
    return answers.one(request, found, answers.tag(found), content)


async def _found(request: Request, kind: Kind, ref: str, namespace: str | None, wait: Wait) -> Found:
    api = api_of(request)
    stream, reach = await stream_of(request, kind, ref, namespace)
    read = api.queries.task if kind == "task" else api.queries.workflow

    async def look() -> Found | None:
        return await read(stream, reach)

    def enough(found: Found | None) -> bool:
        known = "if-none-match" in request.headers
        return found is None or (known and not answers.matches(request, MARKS[kind](found))) or _has_ended(found)

    found = await until(request, look, enough, wait)
    if found is None:
        raise NotFound(NOT_FOUND)
    return found


def _has_ended(found: Found) -> bool:
    return orjson.loads(found.body)["completed_at"] is not None
