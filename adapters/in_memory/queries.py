"""The queries in memory: the same answers, without the columns that only a database can know (ages, lags)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import orjson

from adapters.in_memory import documents
from adapters.in_memory.event_log import MemoryLog
from adapters.in_memory.views import MemoryViews
from adapters.task_listing import check, cursor, read_cursor, statuses
from adapters.task_listing import cursor as make_cursor
from domain.errors import AmbiguousId
from domain.limit_view import LimitView
from domain.messages import is_uuid
from domain.ports.handling import CommandKey, Outcome
from domain.ports.querying import (
    MIN_PREFIX,
    Allowed,
    EventFilter,
    Found,
    Kind,
    Listed,
    Read,
    TaskFilter,
)
from domain.recorded import Recorded
from domain.run_view import RunView
from domain.schedule_view import FireView, ScheduleView
from domain.task_type_view import TaskTypeView
from domain.task_view import TaskView
from domain.views import Row
from domain.worker_view import WorkerView
from domain.workflow_view import WorkflowView

_TABLES: dict[Kind, str] = {"task": "tasks", "run": "runs", "workflow": "workflows", "schedule": "schedules"}


class MemoryQueries:
    """Reads of a log, its views and the outcomes of commands."""

    def __init__(self, log: MemoryLog, views: MemoryViews, inbox: Mapping[CommandKey, Outcome]) -> None:
        self._log, self._views, self._inbox = log, views, inbox

    async def resolve(self, kind: Kind, ref: str, allowed: Allowed) -> UUID | None:
        """The stream that `ref` names: its id, else its given name, else the only id that begins so."""
        rows = self._seen(_TABLES[kind], allowed)
        whole, digits = is_uuid(ref), ref.lower().replace("-", "")
        for found in (
            [row for row in rows if row.id == whole],
            [row for row in rows if kind != "run" and ref == _name(row)],
            [row for row in rows if len(ref) >= MIN_PREFIX and row.id.hex.startswith(digits)],
        ):
            if len(found) > 1:
                raise AmbiguousId(f"id: {ref} stands for several {_TABLES[kind]}")
            if found:
                return found[0].id
        return None

    async def tasks(self, wanted: TaskFilter) -> Listed:
        """A page of tasks, without spec, result and dependencies."""
        sort, descending = check(wanted)
        key: Callable[[TaskView], Any] = (lambda row: row.id) if sort == "created_at" else lambda row: _key(row, sort)
        rows = [row for row in self._tasks(wanted.allowed) if _fits(row, wanted)]
        rows.sort(key=key, reverse=descending)
        if wanted.cursor is not None:
            last = read_cursor(wanted.cursor, wanted.sort)[1]
            rows = rows[[str(row.id) for row in rows].index(last) + 1 :]
        rows = rows[wanted.offset :]
        shown = rows[: wanted.limit]
        more = cursor(wanted.sort, "", str(shown[-1].id)) if len(rows) > wanted.limit else None
        return self._listed([documents.task(row, whole=False) for row in shown], more)

    async def task(self, id: UUID, allowed: Allowed) -> Found | None:
        """All that is known of a task."""
        return self._found(self._tasks(allowed), id, lambda row: documents.task(row, whole=True))

    async def task_events(
        self, id: UUID, allowed: Allowed, after_version: int = 0, types: Sequence[str] = (), limit: int = 100
    ) -> Read | None:
        """Events of one stream by version; None when there is no such stream."""
        stream = [one for one in self._log.events if one.stream == id and _within(one, allowed)]
        if not stream:
            return None
        found = [one for one in stream if one.version > after_version and (not types or one.type in types)][:limit]
        end = found[-1].version if len(found) == limit else max(stream[-1].version, after_version)
        return Read(_json([documents.event(one) for one in found]), len(found), end)

    async def task_runs(self, id: UUID, allowed: Allowed) -> Listed | None:
        """A task's runs by number; None when there is no such task."""
        if all(row.id != id for row in self._tasks(allowed)):
            return None
        runs = [cast("RunView", row) for row in self._seen("runs", allowed)]
        return self._listed([documents.run(row) for row in sorted(runs, key=lambda row: row.number) if row.task == id])

    async def run(self, id: UUID, allowed: Allowed) -> Found | None:
        """All that is known of a run."""
        return self._found(self._seen("runs", allowed), id, lambda row: documents.run(cast("RunView", row)))

    async def events(self, wanted: EventFilter) -> Read:
        """The log in its one order, after a position."""
        end = self._log.events[-1].position if self._log.events else 0
        found = [one for one in self._log.events if _asked(one, wanted)][: wanted.limit]
        up_to = found[-1].position if len(found) == wanted.limit else max(end, wanted.after)
        return Read(_json([documents.event(one) for one in found]), len(found), up_to)

    async def workflows(self, allowed: Allowed, limit: int = 50, cursor: str | None = None) -> Listed:
        """Workflows, the newest first, with how many of their tasks stand how."""
        rows = sorted(self._seen("workflows", allowed), key=lambda row: row.id, reverse=True)
        if cursor is not None:
            rows = [row for row in rows if str(row.id) < read_cursor(cursor, "workflows")[1]]
        more = _more(rows, limit)
        return self._listed([self._workflow(cast("WorkflowView", row)) for row in rows[:limit]], more)

    async def workflow(self, id: UUID, allowed: Allowed) -> Found | None:
        """A workflow with its graph: every task, its status and what it needs."""
        found = self._found(self._seen("workflows", allowed), id, lambda row: self._graph(cast("WorkflowView", row)))
        own = [task.position for task in self._tasks(None) if task.workflow == id]
        return found and replace(found, position=max(found.position, *own))

    async def schedules(self, allowed: Allowed, limit: int = 50, cursor: str | None = None) -> Listed:
        """Schedules that are not deleted, by name."""
        seen = [cast("ScheduleView", row) for row in self._seen("schedules", allowed)]
        rows = sorted((row.schedule_id, str(row.id), row) for row in seen if row.status != "deleted")
        if cursor is not None:
            rows = [row for row in rows if row[:2] > read_cursor(cursor, "schedules")]
        more = make_cursor("schedules", *rows[limit - 1][:2]) if len(rows) > limit else None
        return self._listed([documents.plain(row) for *_, row in rows[:limit]], more)

    async def schedule(self, id: UUID, allowed: Allowed) -> Found | None:
        """All that is known of a schedule."""
        return self._found(self._seen("schedules", allowed), id, documents.plain)

    async def fires(self, schedule: UUID, allowed: Allowed, limit: int = 10) -> Listed:
        """What became of a schedule's times, the last first, with how the tasks stand."""
        own = [row for each in self._seen("fires", allowed) if (row := cast("FireView", each)).schedule == schedule]
        statuses = {task.id: task.status for task in self._tasks(None)}
        last = sorted(own, key=lambda row: row.nominal, reverse=True)[:limit]
        return self._listed([documents.fire(row, statuses.get(row.task) if row.task else None) for row in last])

    async def workers(self, allowed: Allowed) -> Listed:
        """Every worker; beats and leases are not known here."""
        rows = [cast("WorkerView", row) for row in self._views.tables["workers"].values()]
        return self._listed([documents.worker(row) for row in sorted(rows, key=lambda row: row.worker_id)])

    async def worker(self, worker_id: str, allowed: Allowed) -> Found | None:
        """One worker, by its id."""
        for row in self._views.tables["workers"].values():
            if cast("WorkerView", row).worker_id == worker_id:
                return Found(
                    _json(documents.worker(cast("WorkerView", row))), row.version, row.position, await self.head()
                )
        return None

    async def limits(self, allowed: Allowed) -> Listed:
        """The limits that were set in these namespaces, and those of pools."""
        rows = [cast("LimitView", row) for row in self._views.tables["limits"].values()]
        shown = [row for row in rows if (row.max_running, row.starts) != (None, None)]
        near = [row for row in shown if allowed is None or row.namespace in allowed or row.scope.startswith("pool:")]
        return self._listed([documents.limit(row) for row in sorted(near, key=lambda row: row.scope)])

    async def task_types(self, allowed: Allowed) -> Listed:
        """The task types that were put in these namespaces, by name."""
        rows = sorted(self._types(allowed), key=lambda row: (row.name, row.namespace))
        return self._listed([documents.task_type(row) for row in rows])

    async def task_type(self, id: UUID, allowed: Allowed) -> Found | None:
        """One task type, by the id of its stream."""
        return self._found(self._types(allowed), id, lambda row: documents.task_type(cast("TaskTypeView", row)))

    def _types(self, allowed: Allowed) -> list[TaskTypeView]:
        rows = [cast("TaskTypeView", row) for row in self._seen("task_types", allowed)]
        return [row for row in rows if row.definition is not None]

    async def outcome(self, command_id: UUID, allowed: Allowed, principal: str) -> str | None:
        """The reply to a command that `principal` sent, or whose stream lies in `allowed`."""
        for key, outcome in self._inbox.items():
            firsts = [one for one in self._log.events if one.stream == outcome.stream]
            near = allowed is None or any(_within(one, allowed) for one in firsts)
            if key.command_id == command_id and (key.principal == principal or near):
                return outcome.reply.model_dump_json(exclude_none=True)
        return None

    async def projections(self) -> Listed:
        """Every follower of the log and its position."""
        followers = [{"name": name, "position": seat[1]} for name, seat in sorted(self._log.seats.items())]
        return self._listed(followers)

    async def head(self) -> int:
        """The projector's position: what is at or below it is in the views."""
        return self._log.seats.get("projector", (0, 0))[1]

    def _seen(self, view: str, allowed: Allowed) -> list[Row]:
        return [row for row in self._views.tables[view].values() if _within(row, allowed)]

    def _tasks(self, allowed: Allowed) -> list[TaskView]:
        return [cast("TaskView", row) for row in self._seen("tasks", allowed)]

    def _listed(self, rows: Sequence[dict[str, Any]], more: str | None = None) -> Listed:
        return Listed(_json(rows), len(rows), more, self._log.seats.get("projector", (0, 0))[1])

    def _found(self, rows: Iterable[Any], id: UUID, shown: Callable[[Any], dict[str, Any]]) -> Found | None:
        head = self._log.seats.get("projector", (0, 0))[1]
        return next((Found(_json(shown(row)), row.version, row.position, head) for row in rows if row.id == id), None)

    def _workflow(self, row: WorkflowView) -> dict[str, Any]:
        counts: dict[str, int] = {}
        for task in self._tasks(None):
            if task.workflow == row.id:
                counts[task.status] = counts.get(task.status, 0) + 1
        return {name: value for name, value in documents.plain(row).items() if name != "nodes"} | {"counts": counts}

    def _graph(self, row: WorkflowView) -> dict[str, Any]:
        tasks = {str(task.id): task for task in self._tasks(None)}
        nodes = orjson.loads(row.nodes)
        shown = [{**node, "status": tasks[node["id"]].status if node["id"] in tasks else "blocked"} for node in nodes]
        edges = [{"from": need, "to": node["task_id"]} for node in nodes for need in node["depends_on"]]
        return self._workflow(row) | {"nodes": shown, "edges": edges}


def _name(row: Row) -> str:
    names = (getattr(row, field, None) for field in ("task_id", "workflow_id", "schedule_id"))
    return cast("str", next(filter(None, names), None))


def _within(row: Any, allowed: Allowed) -> bool:
    return allowed is None or row.namespace in allowed


def _key(row: TaskView, sort: str) -> tuple[Any, UUID]:
    return getattr(row, sort), row.id


def _fits(row: TaskView, wanted: TaskFilter) -> bool:
    same = ((wanted.name, row.name), (wanted.worker, row.worker_id), (wanted.task_type, row.task_type))
    return (
        (not wanted.status or row.status in statuses(wanted.status))
        and all(asked is None or asked == has for asked, has in same)
        and (wanted.workflow is None or wanted.workflow in (str(row.workflow), row.workflow_id))
        and (wanted.parent is None or wanted.parent in (str(row.parent), row.parent_id))
        and all(name in row.labels and value in (None, row.labels[name]) for name, value in wanted.labels.items())
        and (wanted.created_after is None or row.created_at > wanted.created_after)
        and (wanted.created_before is None or row.created_at < wanted.created_before)
    )


def _asked(one: Recorded, wanted: EventFilter) -> bool:
    return (
        one.position > wanted.after
        and _within(one, wanted.allowed)
        and (not wanted.types or one.type in wanted.types)
        and wanted.correlation in (None, one.cause.correlation_id)
        and wanted.actor in (None, one.cause.actor)
        and (wanted.since is None or one.recorded_at >= wanted.since)
        and (wanted.until is None or one.recorded_at <= wanted.until)
    )


def _more(rows: Sequence[Row], limit: int) -> str | None:
    return cursor("workflows", "", str(rows[limit - 1].id)) if len(rows) > limit else None


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
