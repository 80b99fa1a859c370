"""A page of events becomes what it changes in the conductor's rows."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from domain import events as e
from domain.dependencies import MEETS, requirements
from domain.dispatching import Waiting, queue_key
from domain.ports.conducting import ConductorTurn, Edge, Need, Notes, Timer
from domain.recorded import Recorded

TYPES = [
    e.TaskQueued.TYPE,
    e.TaskBlocked.TYPE,
    e.RunLeased.TYPE,
    e.RunStarted.TYPE,
    e.RunFailed.TYPE,
    e.RunLost.TYPE,
    *sorted(e.ENDS),
    e.WorkflowSubmitted.TYPE,
    e.WorkflowCancelled.TYPE,
    e.WorkerRegistered.TYPE,
]
"""What the conductor reads of the log; whatever else it needs of a stream it loads when it decides."""


async def notes_of(turn: ConductorTurn, events: Iterable[Recorded]) -> Notes:
    """What these events change, in their order: of several about one row the last counts."""
    seen = _Seen()
    for recorded in events:
        seen.see(recorded)
    loaded = await turn.load([*seen.blocked, *seen.started])
    submitted = {stream: rows[0].event() for stream, rows in loaded.items()}
    needs: list[Need] = []
    edges: list[Edge] = []
    for stream in seen.blocked:
        _add_needs(stream, _submitted(submitted[stream]), needs, edges)
    return Notes(
        queued=tuple(seen.queued.values()),
        left=tuple(seen.left),
        needs=tuple(needs),
        edges=tuple(edges),
        looked_up=tuple({edge.upstream for edge in edges} - seen.fresh),
        ended=seen.ended,
        timers=(
            *(
                Timer(stream, "run", fence, at + _submitted(submitted[stream]).timeouts.run)
                for stream, (fence, at) in seen.started.items()
            ),
            *seen.delayed.values(),
        ),
        members=tuple(seen.members),
        cancelled=tuple(seen.cancelled),
        fail_fast=tuple(seen.fail_fast),
        workers=tuple(seen.workers.values()),
    )


class _Seen:
    def __init__(self) -> None:
        self.queued: dict[UUID, Waiting] = {}
        self.left: dict[UUID, None] = {}
        self.blocked: dict[UUID, None] = {}
        self.fresh: set[UUID] = set()
        self.started: dict[UUID, tuple[int, datetime]] = {}
        self.delayed: dict[UUID, Timer] = {}
        self.ended: dict[UUID, str] = {}
        self.members: list[tuple[UUID, UUID]] = []
        self.cancelled: list[UUID] = []
        self.fail_fast: list[UUID] = []
        self.workers: dict[str, tuple[UUID, e.WorkerRegistered]] = {}

    def see(self, recorded: Recorded) -> None:
        stream = recorded.stream
        if recorded.type in e.ENDS:
            self._end(stream, recorded.type.split(".")[1])
        elif recorded.type == e.RunLeased.TYPE:
            self.queued.pop(stream, None)
            self.left[stream] = None
        else:
            self._open(recorded, recorded.event())

    def _end(self, stream: UUID, status: str) -> None:
        self.ended[stream] = status
        for rows in (self.queued, self.left, self.blocked, self.started, self.delayed):
            rows.pop(stream, None)

    def _open(self, recorded: Recorded, event: e.Event) -> None:
        stream = recorded.stream
        match event:
            case e.TaskQueued(pool=pool, executor=executor, priority=priority):
                key = queue_key(recorded.recorded_at, priority)
                self.queued[stream] = Waiting(key, recorded.position, stream, pool, executor)
                self.left.pop(stream, None)
                self.delayed.pop(stream, None)
                self._first(recorded)
            case e.TaskBlocked():
                self.blocked[stream] = None
                self._first(recorded)
            case e.RunStarted(fence=fence):
                self.started[stream] = (fence, recorded.recorded_at)
            case e.RunFailed(fence=fence, retry_at=at) | e.RunLost(fence=fence, retry_at=at) if at is not None:
                self.started.pop(stream, None)
                self.delayed[stream] = Timer(stream, "retry", fence, at)
            case e.WorkflowSubmitted(tasks=tasks, on_failure=on_failure):
                self.members += [(stream, node.stream) for node in tasks]
                self.fail_fast += [stream] if on_failure == "fail-fast" else []
            case e.WorkflowCancelled():
                self.cancelled.append(stream)
            case e.WorkerRegistered(worker_id=worker_id):
                self.workers[worker_id] = (stream, event)
            case _:
                pass

    def _first(self, recorded: Recorded) -> None:
        if recorded.version == 2:
            self.fresh.add(recorded.stream)


def _add_needs(stream: UUID, submitted: e.TaskSubmitted, needs: list[Need], edges: list[Edge]) -> None:
    upstream = {one.task_id: one.stream for one in submitted.depends_on}
    for number, requirement in enumerate(requirements(submitted.spec.depends_on)):
        needs.append(Need(stream, number, requirement.at_least, len(requirement.of)))
        edges += [Edge(stream, number, upstream[name], name, MEETS[when]) for name, when in requirement.of.items()]


def _submitted(event: e.Event) -> e.TaskSubmitted:
    assert isinstance(event, e.TaskSubmitted), "a task's stream begins with its submission"
    return event
