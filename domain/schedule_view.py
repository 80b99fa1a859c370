"""What a schedule looks like now, and what became of each of its times. Pure."""

from datetime import datetime
from typing import NamedTuple, get_args
from uuid import UUID

from domain import events as e
from domain.recorded import Recorded


class ScheduleView(NamedTuple):
    """`status`: active, paused, deleted. `spec`: JSON text, as its user sent it."""

    id: UUID
    namespace: str
    schedule_id: str
    status: str
    spec: str
    changed_by: str
    created_at: datetime
    updated_at: datetime
    version: int
    position: int


class FireView(NamedTuple):
    """`status`: fired, skipped. `last`: the end of the span that is skipped with it, `times`: how many there are in it.
    `by`: trigger, backfill."""

    id: UUID
    namespace: str
    schedule: UUID
    schedule_id: str
    nominal: datetime
    status: str
    task: UUID | None
    reason: str | None
    detail: str | None
    last: datetime | None
    times: int | None
    by: str | None
    recorded_at: datetime
    version: int
    position: int


SCHEDULE_TYPES = frozenset(cls.TYPE for cls in get_args(e.ScheduleEvent))
FIRE_TYPES = frozenset(cls.TYPE for cls in get_args(e.FireEvent))
STATUSES = {e.SchedulePaused.TYPE: "paused", e.ScheduleResumed.TYPE: "active", e.ScheduleDeleted.TYPE: "deleted"}


def schedule_key(recorded: Recorded, event: e.Event) -> UUID:
    """The row that an event of SCHEDULE_TYPES, or of FIRE_TYPES, changes."""
    return recorded.stream


def project_schedule(row: ScheduleView | None, recorded: Recorded, event: e.Event) -> ScheduleView:
    """The row after `event`. Raises ValueError if the stream does not begin with its definition."""
    at = recorded.recorded_at
    if isinstance(event, e.ScheduleDefined):
        anew = row is None or row.status == "deleted"
        return ScheduleView(
            id=recorded.stream,
            namespace=recorded.namespace,
            schedule_id=event.schedule_id,
            status="active" if row is None or anew else row.status,
            spec=event.spec.model_dump_json(exclude_none=True),
            changed_by=recorded.cause.actor,
            created_at=at if row is None or anew else row.created_at,
            updated_at=at,
            version=recorded.version,
            position=recorded.position,
        )
    if row is None:
        raise ValueError(f"stream {recorded.stream}: {recorded.type} before {e.ScheduleDefined.TYPE}")
    row = row._replace(version=recorded.version, position=recorded.position, updated_at=at)
    return row._replace(status=STATUSES[recorded.type], changed_by=recorded.cause.actor)


def project_fire(row: FireView | None, recorded: Recorded, event: e.Event) -> FireView:
    """The row after `event`: the last there is of its time counts."""
    assert isinstance(event, e.ScheduleFired | e.FireSkipped), "chosen by its type"
    fired, skipped = (event, None) if isinstance(event, e.ScheduleFired) else (None, event)
    return FireView(
        id=recorded.stream,
        namespace=recorded.namespace,
        schedule=event.schedule,
        schedule_id=event.schedule_id,
        nominal=event.nominal,
        status="fired" if fired else "skipped",
        task=fired.task_id if fired else None,
        reason=skipped.reason if skipped else None,
        detail=skipped.detail if skipped else None,
        last=skipped.to if skipped else None,
        times=skipped.count if skipped else None,
        by=fired.by if fired else None,
        recorded_at=recorded.recorded_at,
        version=recorded.version,
        position=recorded.position,
    )
