"""The views: rows folded from events, each by its own pure function, in the order of the log. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from domain.events import Event
from domain.recorded import Recorded
from domain.run_view import RunView, project_run, run_key
from domain.task_view import TaskView, project_task, task_key
from domain.worker_view import WorkerView, project_worker, worker_key
from domain.workflow_view import WorkflowView, project_workflow, workflow_key

Row: TypeAlias = TaskView | RunView | WorkflowView | WorkerView
Rows: TypeAlias = dict[UUID, Row]
Fact: TypeAlias = tuple[Recorded, Event]


@dataclass(frozen=True, slots=True)
class View:
    """A view: `key` names the row that an event changes (None: none), `project` changes it."""

    name: str
    row: type[Row]
    key: Callable[[Recorded, Event], UUID | None]
    project: Callable[[Any, Recorded, Event], Row]


VIEWS: Mapping[str, View] = {
    "tasks": View("tasks", TaskView, task_key, project_task),
    "runs": View("runs", RunView, run_key, project_run),
    "workflows": View("workflows", WorkflowView, workflow_key, project_workflow),
    "workers": View("workers", WorkerView, worker_key, project_worker),
}


def facts(events: Iterable[Recorded]) -> list[Fact]:
    """Each event with what it says. Raises KeyError for a type unknown here: this program is too old for the log."""
    return [(recorded, recorded.event()) for recorded in events]


def by_row(view: View, facts: Sequence[Fact]) -> dict[UUID, list[Fact]]:
    """The facts that matter to `view`, by the row that they change, each in order."""
    grouped: dict[UUID, list[Fact]] = {}
    for fact in facts:
        key = view.key(*fact)
        if key is not None:
            grouped.setdefault(key, []).append(fact)
    return grouped


def fold(view: View, rows: Mapping[UUID, Row], changes: Mapping[UUID, Sequence[Fact]]) -> Rows:
    """The rows that `changes` alters, as they are after them. Facts that a row already holds change nothing."""
    changed: Rows = {}
    for key, row_facts in changes.items():
        row = before = rows.get(key)
        for recorded, event in row_facts:
            if row is None or row.position < recorded.position:
                row = view.project(row, recorded, event)
        if row is not None and row is not before:
            changed[key] = row
    return changed
