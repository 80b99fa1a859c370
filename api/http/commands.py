"""Commands over HTTP: read strictly, published with the caller's name, decided by the handler as any other."""

from collections import OrderedDict
from functools import partial
from hashlib import sha256
from typing import Annotated, cast
from uuid import UUID

import orjson
from fastapi import Header
from starlette.requests import Request
from starlette.responses import Response

from api.http.access import MissingScope
from api.http.context import api_of, principal_of
from api.http.parameters import Wait
from api.http.problems import NOT_FOUND
from api.http.route import needs, protected, takes
from api.http.waiting import until
from domain.errors import IdReused, NotFound, TooLarge, Unreadable
from domain.messages import Cause, is_uuid, routing_key
from domain.operating import everywhere
from domain.ports.commanding import CommandDesk, PostedCommand
from domain.ports.querying import Allowed
from domain.ports.tracing import Attributes, messaging

ENVELOPE = "application/cloudevents+json"
LARGE = frozenset({"task.submit-workflow.v1", "task.submit-tasks.v1"})
REMEMBERED = 10_000
WRITES = needs("commands:write")
TASK = {"type": "object", "description": "The data of task.submit.v1: /v1/schemas/task.submit.v1"}
EVENT = {
    "type": "object",
    "description": "A CloudEvent; `data` is described by /v1/schemas/{type}",
    "required": ["type", "data"],
    "properties": {"id": {"type": "string", "format": "uuid"}, "type": {"type": "string"}, "data": {"type": "object"}},
}
router = protected()
posting = protected()
Key = Annotated[str | None, Header(description="A fresh UUID for each command; the same again changes nothing")]


class Published(OrderedDict[tuple[UUID, str], bytes]):
    """Digests of the newest commands that came in here, by id and sender: those are pending, not unknown."""

    def note(self, command: PostedCommand) -> None:
        self[command.id, command.cause.actor] = sha256(command.data).digest()
        if len(self) > REMEMBERED:
            self.popitem(last=False)

    def differs(self, command: PostedCommand) -> bool:
        """Whether its sender has used its id for another body, which may not be decided on yet."""
        digest = sha256(command.data).digest()
        return self.get((command.id, command.cause.actor), digest) != digest


@router.get("/v1/commands/{command_id}", openapi_extra=needs("commands:read"), responses={202: {}})
async def command(request: Request, command_id: str, wait: Wait = None) -> Response:
    """What became of a command; 202 while it is on its way. `wait`: until it is decided."""
    api, principal, given = api_of(request), principal_of(request), is_uuid(command_id)
    if given is None:
        raise NotFound(NOT_FOUND)
    # An outcome is its sender's, or of whoever reaches the namespace it was decided in.
    reach: Allowed = principal.namespaces

    async def look() -> str | None:
        return await api.queries.outcome(given, reach, principal.subject)

    outcome = await until(request, look, lambda outcome: outcome is not None, wait)
    if outcome is not None:
        return Response(outcome, 200, media_type="application/json")
    if (given, principal.subject) in _published(request):
        return _pending(given)
    raise NotFound(NOT_FOUND)


@posting.post("/v1/commands", openapi_extra=WRITES | takes(ENVELOPE, EVENT), status_code=202)
async def post_command(request: Request, idempotency_key: Key = None) -> Response:
    """Publish a command: a CloudEvent (structured mode) whose `type` names it and whose `data` is its body."""
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {ENVELOPE, "application/json"}:
        raise Unreadable("content-type", f"{kind or 'none'}: send {ENVELOPE} or application/json")
    if len(body) > api_of(request).bounds.max_workflow:
        raise TooLarge(f"body: {len(body)} bytes; at most {api_of(request).bounds.max_workflow}")
    attributes, data = cast("CommandDesk", api_of(request).desk).open(body)
    kind_of_command = attributes.get("type")
    if not isinstance(kind_of_command, str):
        raise Unreadable("no-type", "type: name the command, such as task.submit.v1")
    return await _post(request, kind_of_command, data, _ids(idempotency_key, attributes.get("id")))


@posting.post("/v1/tasks", openapi_extra=WRITES | takes("application/json", TASK), status_code=202)
async def post_task(request: Request, idempotency_key: Key = None) -> Response:
    """Publish a `task.submit.v1`: its data is the body."""
    return await _post(request, "task.submit.v1", await request.body(), _ids(idempotency_key, None))


async def _post(request: Request, type: str, data: bytes, id: UUID | None) -> Response:
    api, principal = api_of(request), principal_of(request)
    desk = cast("CommandDesk", api.desk)
    limit = api.bounds.max_workflow if type in LARGE else api.bounds.max_body
    if len(data) > limit:
        raise TooLarge(f"body: {len(data)} bytes; {type} takes {limit}; pass large data by reference")
    message = desk.read(type, data)
    namespace: str = getattr(message, "namespace", "default")
    if everywhere(message) and principal.namespaces is not None:
        raise MissingScope("ns:*")
    if not principal.reaches(namespace):
        raise MissingScope(f"ns:{namespace}")
    cause = request.state.cause
    given = id or api.new_id()
    command = PostedCommand(given, type, namespace, data, _from(cause, str(given), principal.subject))
    if _published(request).differs(command) or await desk.used_for_another(command):
        raise IdReused(f"Idempotency-Key: {given} was used before with another body; send a fresh one")
    with api.traces.step("send task.commands", command.cause, "producer", partial(_described, command)) as sent:
        await desk.publish(PostedCommand(given, type, namespace, data, sent))
    _published(request).note(command)
    return _pending(given)


def _from(cause: Cause, id: str, subject: str) -> Cause:
    return Cause(id, id, subject, cause.traceparent, cause.tracestate)


def _described(command: PostedCommand) -> Attributes:
    key = routing_key(command.type, command.namespace)
    return messaging("send", "task.commands", key, str(command.id), command.cause.correlation_id)


def _pending(id: UUID) -> Response:
    address = f"/v1/commands/{id}"
    body = orjson.dumps({"command_id": str(id), "outcome": "pending", "links": {"command": address}})
    return Response(body, 202, {"Location": address, "Retry-After": "1"}, "application/json")


def _ids(*keys: object) -> UUID | None:
    given = [value for value in keys if value is not None]
    ids = {is_uuid(value) if isinstance(value, str) else None for value in given}
    if None in ids or UUID(int=0) in ids:
        raise Unreadable("bad-id", "Idempotency-Key and id are UUIDs, fresh for each command, and not the nil one")
    if len(ids) > 1:
        raise Unreadable("id-mismatch", "Idempotency-Key and the event's id differ; send one of them")
    return next(iter(ids), None)


def _published(request: Request) -> Published:
    return cast("Published", request.app.state.published)
