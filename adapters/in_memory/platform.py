"""A whole platform in memory, for programs that use the client and want to be tested: it decides as the real one does,
and runs at once what nothing stands in the way of, ending it as it was told."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import cast
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from adapters.in_memory.deciding import Decisions
from adapters.in_memory.endings import Ending
from adapters.in_memory.event_log import MemoryLog
from adapters.in_memory.explaining import MemoryExplaining
from adapters.in_memory.queries import MemoryQueries
from adapters.in_memory.views import MemoryViews
from domain.commands import Command
from domain.errors import NotFound, Refused
from domain.explaining import explain
from domain.firing import times
from domain.graph import drawn
from domain.messages import Cause
from domain.ports.log import Clock, NewId
from domain.ports.platform import Output, View
from domain.ports.querying import MAX_TASKS, Allowed, EventFilter, Kind, TaskFilter
from domain.schedule_spec import ScheduleSpec
from domain.task_type import type_stream
from domain.views import VIEWS, by_row, facts, fold
from domain.work import Reply


@dataclass(slots=True)
class MemoryPlatform:
    """Both of the client's ports. `endings`: by task id, for those that do not just succeed; None: it runs on."""

    clock: Clock
    endings: Mapping[str, Ending | None] = field(default_factory=dict[str, "Ending | None"])
    new_id: NewId = uuid7
    sent: list[Command] = field(default_factory=list[Command])
    log: MemoryLog = field(init=False)
    queries: MemoryQueries = field(init=False)
    _decisions: Decisions = field(init=False)
    _views: MemoryViews = field(default_factory=MemoryViews)
    _replies: dict[UUID, Reply] = field(default_factory=dict[UUID, Reply])

    def __post_init__(self) -> None:
        self.log = MemoryLog(self.clock)
        self.queries = MemoryQueries(self.log, self._views, {})
        self._decisions = Decisions(self.log, self.new_id, self.endings)

    async def send(self, command: Command, command_id: UUID, cause: Cause, answer: bool) -> Reply | None:
        """Decide the command and all that follows."""
        self.sent.append(command)
        if command_id not in self._replies:
            reply = self._decisions.decide(command, command_id, cause)
            while self._decisions.advance(cause):
                pass
            for name, view in VIEWS.items():
                changes = by_row(view, facts(self.log.events))
                self._views.tables[name] = fold(view, {}, changes)
            self._replies[command_id] = reply.model_copy(update={"position": len(self.log.events)})
        return self._replies[command_id] if answer else None

    async def outcome(self, command_id: UUID, wait: timedelta) -> Reply | None:
        return self._replies.get(command_id)

    async def tasks(self, namespace: str | None, filters: Mapping[str, str], limit: int) -> Sequence[View]:
        found: list[View] = []
        cursor = None
        while len(found) < limit:
            wanted = replace(_wanted(namespace, filters), limit=min(limit - len(found), MAX_TASKS), cursor=cursor)
            page = await self.queries.tasks(wanted)
            found += cast("list[View]", orjson.loads(page.body))
            cursor = page.next
            if cursor is None:
                break
        return found

    async def task(self, ref: str, namespace: str, wait: timedelta | None = None, after: int = 0) -> View:
        while True:
            found = await self.queries.task(await self._stream("task", ref, namespace), None)
            view = cast("View", orjson.loads(found.body if found else ""))
            if view["completed_at"] or not wait or not await self._grown(wait):
                return view

    async def task_events(
        self, ref: str, namespace: str, after_version: int = 0, wait: timedelta | None = None
    ) -> Sequence[View]:
        stream = await self._stream("task", ref, namespace)
        found = await self.queries.task_events(stream, None, after_version)
        if wait and found and not found.count and await self._grown(wait):
            found = await self.queries.task_events(stream, None, after_version)
        return cast("list[View]", orjson.loads(found.body if found else ""))

    async def explain(self, ref: str, namespace: str, after: int = 0) -> View:
        known = await MemoryExplaining(self.log).known(await self._stream("task", ref, namespace), None)
        assert known is not None, "what is named is there"
        return explain(known).said()

    async def runs(self, ref: str, namespace: str) -> Sequence[View]:
        found = await self.queries.task_runs(await self._stream("task", ref, namespace), None)
        return cast("list[View]", orjson.loads(found.body if found else ""))

    async def output(self, run_id: str, follow: bool, tail: int | None = None) -> AsyncIterator[Output]:
        found = await self.queries.run(await self._stream("run", run_id, None), None)
        ending = self.endings.get(orjson.loads(found.body)["task_id"]) if found else None
        for part in (Output("stdout", ending.stdout), Output("stderr", ending.stderr)) if ending else ():
            if part.data:
                yield part

    async def events(self, namespace: str | None, after: int, types: Sequence[str], limit: int) -> Sequence[View]:
        found = await self.queries.events(EventFilter(_only(namespace), after, types, limit=limit))
        return cast("list[View]", orjson.loads(found.body))

    async def workflow(self, ref: str, namespace: str, wait: timedelta | None = None, after: int = 0) -> View:
        found = await self.queries.workflow(await self._stream("workflow", ref, namespace), None)
        return drawn(orjson.loads(found.body if found else ""))

    async def schedules(self, namespace: str | None) -> Sequence[View]:
        return cast("list[View]", orjson.loads((await self.queries.schedules(_only(namespace), 500)).body))

    async def schedule(self, ref: str, namespace: str, after: int = 0) -> View:
        found = await self.queries.schedule(await self._stream("schedule", ref, namespace), None)
        return cast("View", orjson.loads(found.body if found else ""))

    async def fires(self, ref: str, namespace: str, coming: int = 10, last: int = 10) -> View:
        view = await self.schedule(ref, namespace)
        rule = ScheduleSpec.model_validate(view["spec"]).rule
        soon = islice(times(rule, self.clock.now()), coming if view["status"] == "active" else 0)
        listed = await self.queries.fires(UUID(view["id"]), None, last)
        return {"next": [one.isoformat().replace("+00:00", "Z") for one in soon], "last": orjson.loads(listed.body)}

    async def workers(self) -> Sequence[View]:
        return cast("list[View]", orjson.loads((await self.queries.workers(None)).body))

    async def limits(self) -> Sequence[View]:
        return cast("list[View]", orjson.loads((await self.queries.limits(None)).body))

    async def task_types(self, namespace: str | None) -> Sequence[View]:
        return cast("list[View]", orjson.loads((await self.queries.task_types(_only(namespace))).body))

    async def task_type(self, name: str, namespace: str) -> View:
        found = await self.queries.task_type(type_stream(namespace, name), None)
        if found is None:
            raise Refused(NotFound(f"no task type {name}").problem())
        return cast("View", orjson.loads(found.body))

    async def projections(self) -> Sequence[View]:
        return cast("list[View]", orjson.loads((await self.queries.projections()).body))

    async def _grown(self, wait: timedelta) -> bool:
        """Whether the log grows in this time."""
        self.log.grown.clear()
        with suppress(TimeoutError):
            return await asyncio.wait_for(self.log.grown.wait(), wait.total_seconds())
        return False

    async def _stream(self, kind: Kind, ref: str, namespace: str | None) -> UUID:
        stream = await self.queries.resolve(kind, ref, _only(namespace))
        if stream is None:
            raise Refused(NotFound(f"no {kind} {ref}").problem())
        return stream


def _wanted(namespace: str | None, filters: Mapping[str, str]) -> TaskFilter:
    labels = {name.removeprefix("label."): value for name, value in filters.items() if name.startswith("label.")}
    before, after = filters.get("created_before"), filters.get("created_after")
    return TaskFilter(
        _only(namespace),
        status=filters["status"].split(",") if "status" in filters else (),
        name=filters.get("name"),
        labels=labels,
        worker=filters.get("worker"),
        workflow=filters.get("workflow"),
        parent=filters.get("parent"),
        task_type=filters.get("task_type"),
        created_after=None if after is None else datetime.fromisoformat(after),
        created_before=None if before is None else datetime.fromisoformat(before),
    )


def _only(namespace: str | None) -> Allowed:
    return None if namespace is None else frozenset({namespace})
