"""The views: rows folded from events, each by its own pure function, in the order of the log. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from domain.events import EVENTS, Event
from domain.limit_view import LIMIT_TYPES, LimitView, limit_key, project_limit
from domain.recorded import Recorded
from domain.run_view import RUN_TYPES, RunView, project_run, run_key
from domain.schedule_view import (
    FIRE_TYPES,
    SCHEDULE_TYPES,
    FireView,
    ScheduleView,
    project_fire,
    project_schedule,
    schedule_key,
)
from domain.task_type_view import TASK_TYPE_TYPES, TaskTypeView, project_task_type, task_type_key
from domain.task_view import TASK_TYPES, TaskView, project_task, task_key
from domain.worker_view import WORKER_TYPES, WorkerView, project_worker, worker_key
from domain.workflow_view import WORKFLOW_TYPES, WorkflowView, project_workflow, workflow_key

Row: TypeAlias = TaskView | RunView | WorkflowView | WorkerView | LimitView | ScheduleView | FireView | TaskTypeView
Rows: TypeAlias = dict[UUID, Row]
Fact: TypeAlias = tuple[Recorded, Event]


@dataclass(frozen=True, slots=True)
class View:
    """A view: `types` are the events that change a row of it, `key` names the row, `project` changes it."""

    name: str
    row: type[Row]
    types: frozenset[str]
    key: Callable[[Recorded, Event], UUID]
    project: Callable[[Any, Recorded, Event], Row]


VIEWS: Mapping[str, View] = {
    "tasks": View("tasks", TaskView, TASK_TYPES, task_key, project_task),
    "runs": View("runs", RunView, RUN_TYPES, run_key, project_run),
    "workflows": View("workflows", WorkflowView, WORKFLOW_TYPES, workflow_key, project_workflow),
    "workers": View("workers", WorkerView, WORKER_TYPES, worker_key, project_worker),
    "schedules": View("schedules", ScheduleView, SCHEDULE_TYPES, schedule_key, project_schedule),
    "fires": View("fires", FireView, FIRE_TYPES, schedule_key, project_fire),
    "limits": View("limits", LimitView, LIMIT_TYPES, limit_key, project_limit),
    "task_types": View("task_types", TaskTypeView, TASK_TYPE_TYPES, task_type_key, project_task_type),
}
_UNVIEWED = frozenset(EVENTS) - frozenset[str]().union(*(view.types for view in VIEWS.values()))


def facts(events: Iterable[Recorded]) -> list[Fact]:
    """Each event that matters to a view, with what it says.

    Raises KeyError for a type unknown here: this program is too old for the log.
    """
    return [(recorded, recorded.event()) for recorded in events if recorded.type not in _UNVIEWED]


def by_row(view: View, facts: Sequence[Fact]) -> dict[UUID, list[Fact]]:
    """The facts that matter to `view`, by the row that they change, each in order."""
    grouped: dict[UUID, list[Fact]] = {}
    types, key = view.types, view.key
    for fact in facts:
        if fact[0].type in types:
            grouped.setdefault(key(*fact), []).append(fact)
    return grouped


def fold(view: View, rows: Mapping[UUID, Row], changes: Mapping[UUID, Sequence[Fact]]) -> Rows:
    """The rows that `changes` alters, as they are after them. Facts that a row already holds change nothing."""
    changed: Rows = {}
    project = view.project
    for key, row_facts in changes.items():
        row = before = rows.get(key)
        for recorded, event in row_facts:
            if row is None or row.position < recorded.position:
                row = project(row, recorded, event)
        if row is not None and row is not before:
            changed[key] = row
    return changed
