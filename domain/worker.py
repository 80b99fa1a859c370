"""A worker: each registration opens a generation, silence for a whole lease ends one; drained, it is given nothing
more. Pure."""

from dataclasses import dataclass, replace
from uuid import UUID

from domain import events as e
from domain.errors import WorkerIdTaken
from domain.ids import derived_id
from domain.operating import ChangeWorker, StartWorker, StopWorker
from domain.reports import RegisterWorker

NO_NAMESPACE = "_"
"""Of the streams of workers."""


@dataclass(frozen=True, slots=True)
class Worker:
    """`lost`: it has not been heard since, and holds nothing. `draining`: it is to be given nothing, in this generation
    and all that follow, until somebody starts it."""

    id: UUID
    version: int
    registered: e.WorkerRegistered
    lost: bool = False
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Lose:
    """Generation `generation` was not heard for a whole lease while it held `runs`."""

    generation: int
    runs: tuple[UUID, ...]


def worker_stream(worker_id: str) -> UUID:
    """The stream of a worker: derived, so that every registration finds it."""
    return derived_id(UUID(int=0), f"worker:{worker_id}")


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


def change(worker: Worker, command: ChangeWorker, by: str) -> list[e.WorkerEvent]:
    """What `by` asks of a worker; none when it is already so."""
    worker_id = worker.registered.worker_id
    match command:
        case StopWorker(reason=reason):
            return [] if worker.draining else [e.WorkerDraining(worker_id=worker_id, by=by, reason=reason)]
        case StartWorker():
            return [e.WorkerServing(worker_id=worker_id, by=by)] if worker.draining else []


def evolve(worker: Worker | None, id: UUID, event: e.Event) -> Worker:
    """The state after `event`, the next of the stream `id`."""
    match worker, event:
        case None, e.WorkerRegistered():
            return Worker(id, 1, event)
        case Worker(), e.WorkerRegistered():
            return replace(worker, version=worker.version + 1, registered=event, lost=False)
        case Worker(), e.WorkerLost():
            return replace(worker, version=worker.version + 1, lost=True)
        case Worker(), e.WorkerDraining() | e.WorkerServing():
            return replace(worker, version=worker.version + 1, draining=isinstance(event, e.WorkerDraining))
        case _:
            raise ValueError(f"stream {id}: {event.TYPE} cannot follow here")
