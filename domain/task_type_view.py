"""What a task type is now. Pure."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from domain import events as e
from domain.recorded import Recorded


class TaskTypeView(NamedTuple):
    """`number`: how often it was put, or was before it was removed; `definition`: as JSON; None: it is removed."""

    id: UUID
    name: str
    namespace: str
    number: int
    definition: str | None
    by: str
    updated_at: datetime
    version: int
    position: int


TASK_TYPE_TYPES = frozenset({e.TaskTypeChanged.TYPE, e.TaskTypeRemoved.TYPE})


def task_type_key(recorded: Recorded, event: e.Event) -> UUID:
    """The row that an event of TASK_TYPE_TYPES changes."""
    return recorded.stream


def project_task_type(row: TaskTypeView | None, recorded: Recorded, event: e.Event) -> TaskTypeView:
    """The row after `event`."""
    assert isinstance(event, e.TaskTypeChanged | e.TaskTypeRemoved), "one of TASK_TYPE_TYPES"
    definition = None
    if isinstance(event, e.TaskTypeChanged):
        definition = event.definition.model_dump_json(exclude_none=True)
    return TaskTypeView(
        id=recorded.stream,
        name=event.task_type,
        namespace=recorded.namespace,
        number=event.number,
        definition=definition,
        by=event.by,
        updated_at=recorded.recorded_at,
        version=recorded.version,
        position=recorded.position,
    )
