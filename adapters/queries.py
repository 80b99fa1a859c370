"""`domain.ports.querying.Queries` on PostgreSQL, as a role that may only read."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import orjson

from adapters import query_texts
from adapters.conditions import Where
from adapters.reading import Reader, open_reader
from adapters.resolving import ids, resolve
from adapters.task_listing import cursor, listing, read_cursor
from domain.errors import BadQuery
from domain.ports.querying import (
    MAX_EVENTS,
    MAX_TASKS,
    Allowed,
    EventFilter,
    Found,
    Kind,
    Listed,
    Read,
    TaskFilter,
)


@asynccontextmanager
async def open_queries(dsn: str, most: int = 10) -> AsyncGenerator["PgQueries", None]:
    """Queries over at most `most` connections, made as they are needed."""
    async with open_reader(dsn, most) as reader:
        yield PgQueries(reader)


class PgQueries:
    """Every statement carries the namespaces allowed."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._rows = reader, reader.rows

    async def resolve(self, kind: Kind, ref: str, allowed: Allowed) -> UUID | None:
        """The stream that `ref` names: its id, else its given name, else the only id that begins so."""
        return await resolve(self._reader, kind, ref, allowed)

    async def tasks(self, wanted: TaskFilter) -> Listed:
        """A page of tasks, without spec, result and dependencies."""
        tail, key, parameters = listing(wanted)
        rows, head = await self._headed(query_texts.task_page(tail, key), *parameters)
        shown = rows[: wanted.limit]
        more = cursor(wanted.sort, shown[-1][1], shown[-1][2]) if len(rows) > wanted.limit else None
        return Listed(_array(shown), len(shown), more, head)

    async def task(self, id: UUID, allowed: Allowed) -> Found | None:
        """All that is known of a task."""
        where = _where("t", id, allowed)
        return await self._one(query_texts.one_task(where.text()), *where.parameters)

    async def task_events(
        self, id: UUID, allowed: Allowed, after_version: int = 0, types: Sequence[str] = (), limit: int = 100
    ) -> Read | None:
        """Events of one stream by version; None when there is no such stream."""
        within = Where()
        within.add("e.originator_id = %s", id)
        within.within("e.namespace", allowed)
        head = f"SELECT max(e.originator_version) FROM events e WHERE {within.text()}"
        last: int | None = (await self._rows(head, *within.parameters))[0][0]
        if last is None:
            return None
        within.add("e.originator_version > %s AND e.originator_version <= %s", after_version, last)
        if types:
            within.one_of("e.topic", types)
        rows = await self._rows(query_texts.stream_events(within.text()), *within.parameters, _events(limit))
        return Read(_array(rows), len(rows), rows[-1][1] if len(rows) == limit else max(last, after_version))

    async def task_runs(self, id: UUID, allowed: Allowed) -> Listed | None:
        """A task's runs by number; None when there is no such task."""
        if not await ids(self._reader, "task", allowed, "x.id = %s", id):
            return None
        where = Where()
        where.add("r.task = %s", id)
        where.within("r.namespace", allowed)
        return await self._all(query_texts.runs(where.text()), *where.parameters)

    async def run(self, id: UUID, allowed: Allowed) -> Found | None:
        """All that is known of a run."""
        where = _where("r", id, allowed)
        return await self._one(query_texts.runs(where.text()), *where.parameters)

    async def events(self, wanted: EventFilter) -> Read:
        """The log in its one order, after a position."""
        # The end is read before the rows, so that nothing at or below it can be missed.
        end: int = (await self._rows(query_texts.LOG_HEAD))[0][0]
        where = Where()
        where.add("e.notification_id > %s AND e.notification_id <= %s", wanted.after, end)
        where.within("e.namespace", wanted.allowed)
        if wanted.types:
            where.one_of("e.topic", wanted.types)
        for condition, value in (
            ("e.correlation_id = %s", wanted.correlation),
            ("e.actor = %s", wanted.actor),
            ("e.recorded_at >= %s", wanted.since),
            ("e.recorded_at <= %s", wanted.until),
        ):
            if value is not None:
                where.add(condition, value)
        rows = await self._rows(query_texts.feed(where.text()), *where.parameters, _events(wanted.limit))
        return Read(_array(rows), len(rows), rows[-1][1] if len(rows) == wanted.limit else max(end, wanted.after))

    async def workflows(self, allowed: Allowed, limit: int = 50, cursor: str | None = None) -> Listed:
        """Workflows, the newest first, with how many of their tasks stand how."""
        _check_limit(limit)
        where = Where()
        where.within("w.namespace", allowed)
        if cursor is not None:
            where.add("w.id < %s::uuid", read_cursor(cursor, "workflows")[1])
        rows, head = await self._headed(query_texts.workflow_page(where.text()), *where.parameters, limit + 1)
        shown = rows[:limit]
        more = _workflow_cursor(shown[-1][1]) if len(rows) > limit else None
        return Listed(_array(shown), len(shown), more, head)

    async def workflow(self, id: UUID, allowed: Allowed) -> Found | None:
        """A workflow with its graph: every task, its status and what it needs."""
        where = _where("w", id, allowed)
        return await self._one(query_texts.one_workflow(where.text()), *where.parameters)

    async def schedules(self, allowed: Allowed, limit: int = 50, cursor: str | None = None) -> Listed:
        """Schedules that are not deleted, by name."""
        _check_limit(limit)
        where = Where()
        where.within("s.namespace", allowed)
        where.add("s.status <> %s", "deleted")
        if cursor is not None:
            where.add("(s.schedule_id, s.id) > (%s, %s::uuid)", *read_cursor(cursor, "schedules"))
        rows, head = await self._headed(query_texts.schedule_page(where.text()), *where.parameters, limit + 1)
        shown = rows[:limit]
        more = _schedule_cursor(*shown[-1][1:3]) if len(rows) > limit else None
        return Listed(_array(shown), len(shown), more, head)

    async def schedule(self, id: UUID, allowed: Allowed) -> Found | None:
        """All that is known of a schedule."""
        where = _where("s", id, allowed)
        return await self._one(query_texts.one_schedule(where.text()), *where.parameters)

    async def fires(self, schedule: UUID, allowed: Allowed, limit: int = 10) -> Listed:
        """What became of a schedule's times, the last first, with how the tasks stand."""
        _check_limit(limit)
        where = Where()
        where.add("f.schedule = %s", schedule)
        where.within("f.namespace", allowed)
        return await self._all(query_texts.fires(where.text()), *where.parameters, limit)

    async def workers(self, allowed: Allowed) -> Listed:
        """Every worker with the age of its last beat and the runs it holds in these namespaces."""
        held = Where()
        held.within("t.namespace", allowed)
        return await self._all(query_texts.workers("true", held.text()), *held.parameters)

    async def worker(self, worker_id: str, allowed: Allowed) -> Found | None:
        """One worker, by its id."""
        held = Where()
        held.within("t.namespace", allowed)
        return await self._one(query_texts.workers("k.worker_id = %s", held.text()), *held.parameters, worker_id)

    async def limits(self, allowed: Allowed) -> Listed:
        """The limits that were set in these namespaces, and those of pools."""
        where = Where()
        where.within("l.namespace", allowed)
        condition = (
            f"(l.max_running IS NOT NULL OR l.starts IS NOT NULL) AND (l.scope LIKE 'pool:%%' OR {where.text()})"
        )
        return await self._all(query_texts.limits(condition), *where.parameters)

    async def task_types(self, allowed: Allowed) -> Listed:
        """The task types that were put in these namespaces, by name."""
        where = Where()
        where.within("y.namespace", allowed)
        return await self._all(query_texts.task_types(where.text()), *where.parameters)

    async def task_type(self, id: UUID, allowed: Allowed) -> Found | None:
        """One task type, by the id of its stream."""
        where = _where("y", id, allowed)
        return await self._one(query_texts.task_types(where.text()), *where.parameters)

    async def outcome(self, command_id: UUID, allowed: Allowed, principal: str) -> str | None:
        """The reply to a command that `principal` sent, or whose stream lies in `allowed`."""
        for reply, position, namespace, sender in await self._rows(query_texts.OUTCOME, command_id, principal):
            if allowed is None or sender == principal or namespace in allowed:
                placed = {} if position is None else {"position": position}
                return orjson.dumps(orjson.loads(reply) | placed).decode()
        return None

    async def projections(self) -> Listed:
        """Every follower of the log: its position, and how far and how long it is behind."""
        return await self._all(query_texts.PROJECTIONS)

    async def head(self) -> int:
        """The projector's position: what is at or below it is in the views."""
        position: int = (await self._rows(f"SELECT {query_texts.HEAD}"))[0][0]
        return position

    async def _one(self, text: str, *parameters: object) -> Found | None:
        rows = await self._rows(text, *parameters)
        return Found(*rows[0]) if rows else None

    async def _all(self, text: str, *parameters: object) -> Listed:
        rows, head = await self._headed(text, *parameters)
        return Listed(_array(rows), len(rows), None, head)

    async def _headed(self, text: str, *parameters: object) -> tuple[list[tuple[Any, ...]], int]:
        """Rows whose last column is the projector's position, and that position."""
        rows = await self._rows(text, *parameters)
        if rows:
            return rows, rows[0][-1]
        # No row tells it, and views may move meanwhile: what is read after a position is never older than that.
        head = await self.head()
        return await self._rows(text, *parameters), head


def _where(table: str, id: UUID, allowed: Allowed) -> Where:
    where = Where()
    where.add(f"{table}.id = %s", id)
    where.within(f"{table}.namespace", allowed)
    return where


def _array(rows: Sequence[tuple[Any, ...]]) -> str:
    return f"[{','.join(row[0] for row in rows)}]"


def _events(limit: int) -> int:
    if not 1 <= limit <= MAX_EVENTS:
        raise BadQuery(f"limit: {limit} is not from 1 to {MAX_EVENTS}")
    return limit


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_TASKS:
        raise BadQuery(f"limit: {limit} is not from 1 to {MAX_TASKS}")


def _schedule_cursor(name: str, id: str) -> str:
    return cursor("schedules", name, id)


def _workflow_cursor(id: str) -> str:
    return cursor("workflows", "", id)
