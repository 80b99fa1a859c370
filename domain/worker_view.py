"""What a worker looks like now, as far as the log knows: beats are not in it. Pure."""

from datetime import datetime
from typing import NamedTuple, get_args
from uuid import UUID

from domain import events as e
from domain.recorded import Recorded
from domain.task_view import compact


class WorkerView(NamedTuple):
    """`status`: live, draining, lost. `registered_at`: when its present generation began. `executors`: JSON text, a
    list. `drained_by`: who has drained it, and not started it again."""

    id: UUID
    worker_id: str
    generation: int
    instance: UUID
    engine: str
    pool: str
    slots: int
    executors: str
    labels: dict[str, str]
    software: str
    status: str
    registered_at: datetime
    updated_at: datetime
    version: int
    position: int
    lost_at: datetime | None = None
    drained_by: str | None = None
    drain_reason: str | None = None


WORKER_TYPES = frozenset(cls.TYPE for cls in get_args(e.WorkerEvent))


def worker_key(recorded: Recorded, event: e.Event) -> UUID:
    """The row that an event of WORKER_TYPES changes."""
    return recorded.stream


def project_worker(row: WorkerView | None, recorded: Recorded, event: e.Event) -> WorkerView:
    """The row after `event`. Raises ValueError if the stream does not begin with a registration."""
    at = recorded.recorded_at
    if isinstance(event, e.WorkerRegistered):
        said = (row.drained_by, row.drain_reason) if row else (None, None)
        return _standing(_registered(recorded, event)._replace(drained_by=said[0], drain_reason=said[1]))
    if row is None:
        raise ValueError(f"stream {recorded.stream}: {recorded.type} before {e.WorkerRegistered.TYPE}")
    row = row._replace(version=recorded.version, position=recorded.position, updated_at=at)
    match event:
        case e.WorkerLost():
            row = row._replace(lost_at=at)
        case e.WorkerDraining(by=by, reason=reason):
            row = row._replace(drained_by=by, drain_reason=reason)
        case e.WorkerServing():
            row = row._replace(drained_by=None, drain_reason=None)
        case _:
            pass
    return _standing(row)


def _standing(row: WorkerView) -> WorkerView:
    return row._replace(status="lost" if row.lost_at else "draining" if row.drained_by else "live")


def _registered(recorded: Recorded, event: e.WorkerRegistered) -> WorkerView:
    return WorkerView(
        id=recorded.stream,
        worker_id=event.worker_id,
        generation=event.generation,
        instance=event.instance,
        engine=event.engine,
        pool=event.pool,
        slots=event.slots,
        executors=compact(list(event.executors)),
        labels=dict(event.labels),
        software=event.version,
        status="live",
        registered_at=recorded.recorded_at,
        updated_at=recorded.recorded_at,
        version=recorded.version,
        position=recorded.position,
    )
