"""A worker: each registration opens a generation; silence for a whole lease ends one. Pure."""

from dataclasses import dataclass, replace
from uuid import UUID

from domain import events as e
from domain.errors import WorkerIdTaken
from domain.reports import RegisterWorker


@dataclass(frozen=True, slots=True)
class Worker:
    """`lost`: it has not been heard since, and holds nothing."""

    id: UUID
    version: int
    registered: e.WorkerRegistered
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Lose:
    """Generation `generation` was not heard for a whole lease while it held `runs`."""

    generation: int
    runs: tuple[UUID, ...]


def register(worker: Worker | None, command: RegisterWorker, alive: bool) -> list[e.WorkerEvent]:
    """A new generation; none when this very process has registered before. `alive`: a beat came within a lease.

    A process that has found its engine since opens one too. Raises WorkerIdTaken when the id is alive on the engine of
    another process.
    """
    same_process = worker is not None and worker.registered.instance == command.instance
    same_engine = worker is not None and worker.registered.engine == command.engine
    if worker is not None and not worker.lost and same_process and same_engine:
        return []
    if worker is not None and not worker.lost and alive and not (same_process or same_engine):
        raise WorkerIdTaken(
            f"worker_id: {command.worker_id} beats on engine {worker.registered.engine}; give this worker another id"
        )
    return [
        e.WorkerRegistered(
            worker_id=command.worker_id,
            generation=worker.registered.generation + 1 if worker else 1,
            instance=command.instance,
            engine=command.engine,
            pool=command.pool,
            slots=command.slots,
            executors=command.executors,
            labels=command.labels,
            version=command.version,
        )
    ]


def lose(worker: Worker, command: Lose) -> list[e.WorkerEvent]:
    """The worker counts as lost until it registers again; none when it already does."""
    if worker.lost or worker.registered.generation != command.generation:
        return []
    return [e.WorkerLost(worker_id=worker.registered.worker_id, generation=command.generation, runs=command.runs)]


def evolve(worker: Worker | None, id: UUID, event: e.Event) -> Worker:
    """The state after `event`, the next of the stream `id`."""
    match worker, event:
        case _, e.WorkerRegistered():
            return Worker(id, worker.version + 1 if worker else 1, event)
        case Worker(), e.WorkerLost():
            return replace(worker, version=worker.version + 1, lost=True)
        case _:
            raise ValueError(f"stream {id}: {event.TYPE} cannot follow here")
