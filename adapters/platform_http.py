"""The platform over its HTTP API: reads, and commands by POST."""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import cast
from urllib.parse import quote
from uuid import UUID

from adapters.api_session import NONE, PAUSE_SECONDS, ApiSession
from domain.commands import Command
from domain.errors import Refused
from domain.messages import Cause, is_uuid
from domain.ports.platform import Output, View
from domain.work import Reply

ASK = timedelta(seconds=20)
PAGE, EVENTS = 500, 1000
POSTS_AT_ONCE = 20
MOST_SCHEDULES = 10_000


@dataclass(frozen=True, slots=True)
class HttpPlatform:
    """`source` names this client in what it sends."""

    api: ApiSession
    source: str = "/clients/tally"
    _posting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(POSTS_AT_ONCE))

    async def send(self, command: Command, command_id: UUID, cause: Cause, answer: bool) -> Reply | None:
        """Post the command; with `answer`, ask until its outcome is there."""
        envelope = {
            "specversion": "1.0",
            "id": str(command_id),
            "type": command.TYPE,
            "source": self.source,
            "datacontenttype": "application/json",
            "data": json.loads(command.body()),
        }
        headers = {"content-type": "application/cloudevents+json", "idempotency-key": str(command_id)}
        trace = {"traceparent": cause.traceparent, "tracestate": cause.tracestate}
        headers |= {name: value for name, value in trace.items() if value is not None}
        reply = None
        async with self._posting:
            await self.api.request("POST", "/v1/commands", content=json.dumps(envelope).encode(), headers=headers)
            while answer and reply is None:
                reply = await self.outcome(command_id, ASK)
        return reply

    async def outcome(self, command_id: UUID, wait: timedelta) -> Reply | None:
        """What became of a command; None while it is not known, after waiting for it."""
        params = {"wait": _span(wait)}
        try:
            answer = await self.api.request("GET", f"/v1/commands/{command_id}", wait, params=params)
        except Refused as refused:
            if refused.problem.code != "not-found":
                raise
            await asyncio.sleep(PAUSE_SECONDS)
            return None
        return Reply.model_validate_json(answer.content) if answer.status_code == 200 else None

    async def tasks(self, namespace: str | None, filters: Mapping[str, str], limit: int) -> Sequence[View]:
        """Tasks, the newest first. `namespace` None: all that may be seen. `label.<name>` filters on that label."""
        params = [("limit", str(min(limit, PAGE)))]
        for name, value in filters.items():
            label = name.removeprefix("label.")
            params.append((name, value) if label == name else ("label", f"{label}={value}"))
        if namespace is not None:
            params.append(("namespace", namespace))
        return await self.api.pages("/v1/tasks", params, limit)

    async def task(self, ref: str, namespace: str, wait: timedelta | None = None, after: int = 0) -> View:
        """One task, `wait`ing for its end. `after`: a position that the answer must hold."""
        return await self._one("tasks", ref, namespace, wait or NONE, after)

    async def task_events(
        self, ref: str, namespace: str, after_version: int = 0, wait: timedelta | None = None
    ) -> Sequence[View]:
        """The events of one task by version, `wait`ing for the first."""
        params = {**_where(ref, namespace), "after_version": str(after_version), "limit": str(EVENTS)}
        if wait:
            params["wait"] = _span(wait)
        return cast("list[View]", await self.api.get(f"{_path('tasks', ref)}/events", params, wait or NONE))

    async def explain(self, ref: str, namespace: str, after: int = 0) -> View:
        """Why one task stands as it does. `after`: a position that the answer must hold."""
        params = _where(ref, namespace) | ({"after_position": str(after)} if after else {})
        return cast("View", await self.api.get(f"{_path('tasks', ref)}/explain", params))

    async def runs(self, ref: str, namespace: str) -> Sequence[View]:
        """The runs of one task by number."""
        return cast("list[View]", await self.api.get(f"{_path('tasks', ref)}/runs", _where(ref, namespace)))

    async def output(self, run_id: str, follow: bool, tail: int | None = None) -> AsyncIterator[Output]:
        """What a run prints; with `follow` to its end, else what is stored. `tail`: only the last lines."""
        path, params = f"{_path('runs', run_id)}/logs", {} if tail is None else {"tail": str(tail)}
        if follow:
            async for event in self.api.feed(path, {**params, "follow": "true"}):
                data = cast("View", event.json())
                exact = data.get("base64")
                yield Output(data["stream"], data["text"].encode() if exact is None else b64decode(exact))
            return
        for name in ("stdout", "stderr"):
            answer = await self.api.request("GET", path, params={**params, "stream": name})
            if answer.content:
                yield Output("stdout" if name == "stdout" else "stderr", answer.content)

    async def events(self, namespace: str | None, after: int, types: Sequence[str], limit: int) -> Sequence[View]:
        """The log after a position, in order; `types` empty: all."""
        params = {} if namespace is None else {"namespace": namespace}
        if types:
            params["types"] = ",".join(types)
        found: list[View] = []
        while True:
            asked = min(limit - len(found), EVENTS)
            where = {**params, "after": str(after), "limit": str(asked)}
            page = cast("list[View]", await self.api.get("/v1/events", where))
            found += page
            if len(page) < asked or len(found) >= limit:
                return found
            after = page[-1]["position"]

    async def workflow(self, ref: str, namespace: str, wait: timedelta | None = None, after: int = 0) -> View:
        """One workflow with its graph, `wait`ing for its end. `after`: a position that the answer must hold."""
        return await self._one("workflows", ref, namespace, wait or NONE, after)

    async def schedules(self, namespace: str | None) -> Sequence[View]:
        """Schedules by name. `namespace` None: all that may be seen."""
        params = [] if namespace is None else [("namespace", namespace)]
        return await self.api.pages("/v1/schedules", [("limit", str(PAGE)), *params], MOST_SCHEDULES)

    async def schedule(self, ref: str, namespace: str, after: int = 0) -> View:
        """One schedule. `after`: a position that the answer must hold."""
        return await self._one("schedules", ref, namespace, NONE, after)

    async def fires(self, ref: str, namespace: str, coming: int = 10, last: int = 10) -> View:
        """When a schedule fires next (`next`), and what became of its last times (`last`)."""
        params = {**_where(ref, namespace), "next": str(coming), "last": str(last)}
        return cast("View", await self.api.get(f"{_path('schedules', ref)}/fires", params))

    async def workers(self) -> Sequence[View]:
        """All workers."""
        return cast("list[View]", await self.api.get("/v1/workers", {}))

    async def limits(self) -> Sequence[View]:
        """The limits that were set."""
        return cast("list[View]", await self.api.get("/v1/limits", {}))

    async def task_types(self, namespace: str | None) -> Sequence[View]:
        """The task types that were put, in a namespace or in all that may be seen."""
        return cast("list[View]", await self.api.get("/v1/task-types", {"namespace": namespace} if namespace else {}))

    async def task_type(self, name: str, namespace: str) -> View:
        """One task type of a namespace."""
        return cast("View", await self.api.get(_path("task-types", name), {"namespace": namespace}))

    async def projections(self) -> Sequence[View]:
        """The followers of the log and how far behind they are."""
        return cast("list[View]", await self.api.get("/v1/projections", {}))

    async def _one(self, kind: str, ref: str, namespace: str, wait: timedelta, after: int) -> View:
        params = _where(ref, namespace)
        if wait:
            params["wait"] = _span(wait)
        if after:
            params["after_position"] = str(after)
        return cast("View", await self.api.get(_path(kind, ref), params, wait))


def _path(kind: str, ref: str) -> str:
    return f"/v1/{kind}/{quote(ref, safe='')}"


def _where(ref: str, namespace: str) -> dict[str, str]:
    """An id needs no namespace; a name, or the beginning of an id, is looked for in one."""
    return {} if is_uuid(ref) else {"namespace": namespace}


def _span(wait: timedelta) -> str:
    return f"PT{wait.total_seconds():g}S"
