"""What a worker looks like now, as far as the log knows: beats are not in it. Pure."""

from datetime import datetime
from typing import NamedTuple, get_args
from uuid import UUID

from domain import events as e
from domain.recorded import Recorded
from domain.task_view import compact


class WorkerView(NamedTuple):
    """`status`: live, lost. `registered_at`: when its present generation began. `executors`: JSON text, a list."""

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


WORKER_TYPES = frozenset(cls.TYPE for cls in get_args(e.WorkerEvent))


def worker_key(recorded: Recorded, event: e.Event) -> UUID:
    """The row that an event of WORKER_TYPES changes."""
    return recorded.stream


def project_worker(row: WorkerView | None, recorded: Recorded, event: e.Event) -> WorkerView:
    """The row after `event`. Raises ValueError if the stream does not begin with a registration."""
    at = recorded.recorded_at
    if isinstance(event, e.WorkerRegistered):
        return _registered(recorded, event)
    if row is None:
        raise ValueError(f"stream {recorded.stream}: {recorded.type} before {e.WorkerRegistered.TYPE}")
    row = row._replace(version=recorded.version, position=recorded.position, updated_at=at)
    return row._replace(status="lost", lost_at=at) if isinstance(event, e.WorkerLost) else row


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
