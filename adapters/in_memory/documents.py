"""Rows and events as the objects that queries answer with."""

from typing import Any

import orjson

from domain.limit_view import LimitView
from domain.recorded import Recorded
from domain.run_view import RunView
from domain.schedule_view import FireView
from domain.task_type_view import TaskTypeView
from domain.task_view import TaskView
from domain.views import Row
from domain.worker_view import WorkerView

_TEXTS = ("depends_on", "result", "artifacts", "spec", "error", "nodes", "executors", "definition", "cached_from")


def plain(row: Row) -> dict[str, Any]:
    """The columns, JSON texts as what they hold."""
    texts = {name: orjson.loads(value) for name, value in row._asdict().items() if name in _TEXTS and value}
    return row._asdict() | texts


def task(row: TaskView, whole: bool) -> dict[str, Any]:
    """A task, in a list without what is long."""
    hidden = () if whole else ("detail", "depends_on", "result", "artifacts", "spec")
    return {name: value for name, value in plain(row).items() if name not in hidden} | {"runs": row.run}


def run(row: RunView) -> dict[str, Any]:
    """A run."""
    return plain(row) | {"run_id": row.id, "run": row.number}


def fire(row: FireView, task_status: str | None) -> dict[str, Any]:
    """What became of a schedule's time."""
    shown = plain(row)
    return shown | {"to": shown.pop("last"), "count": shown.pop("times"), "task_status": task_status}


def worker(row: WorkerView) -> dict[str, Any]:
    """A worker of whose beats and leases nothing is known."""
    shown = plain(row)
    return shown | {
        "version": shown.pop("software"),
        "last_beat": None,
        "held": [],
        "drained": row.drained_by is not None,
    }


def limit(row: LimitView) -> dict[str, Any]:
    """A limit."""
    return _unnamed(row)


def task_type(row: TaskTypeView) -> dict[str, Any]:
    """A task type."""
    return _unnamed(row)


def _unnamed(row: Row) -> dict[str, Any]:
    return {name: value for name, value in plain(row).items() if name != "id"}


def event(one: Recorded) -> dict[str, Any]:
    """An event with its data inside."""
    cause = one.cause
    return {
        "position": one.position,
        "version": one.version,
        "id": one.event_id,
        "type": one.type,
        "stream": one.stream,
        "namespace": one.namespace,
        "time": one.recorded_at,
        "correlation_id": cause.correlation_id,
        "causation_id": cause.causation_id,
        "actor": cause.actor,
        "traceparent": cause.traceparent,
        "data": orjson.loads(one.body),
    }
