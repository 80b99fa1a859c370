"""A page of events becomes what it changes in the conductor's rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from consumers import scheduling
from domain import events as e
from domain.caching import Entry, Look, entry_of, key_for, looks, may_keep
from domain.dependencies import MEETS, requirements
from domain.dispatching import Waiting, moved, queue_key
from domain.folding import task_of
from domain.forwarding import deadlines
from domain.ids import child_stream
from domain.lanes import lane_of
from domain.ports.conducting import ConductorTurn, Edge, Need, Notes, Timer
from domain.recorded import Recorded

TYPES = [
    e.TaskQueued.TYPE,
    e.TaskBlocked.TYPE,
    e.RunLeased.TYPE,
    e.RunStarted.TYPE,
    e.RunFailed.TYPE,
    e.RunLost.TYPE,
    e.TaskPriorityChanged.TYPE,
    e.TaskPaused.TYPE,
    *sorted(e.ENDS),
    e.WorkflowSubmitted.TYPE,
    e.WorkflowExtended.TYPE,
    e.WorkflowCancelled.TYPE,
    e.TaskSpread.TYPE,
    e.TaskRecalled.TYPE,
    e.WorkerRegistered.TYPE,
    e.WorkerDraining.TYPE,
    e.WorkerServing.TYPE,
    *scheduling.TYPES,
    e.LimitChanged.TYPE,
]
"""What the conductor reads of the log; whatever else it needs of a stream it loads when it decides."""


async def notes_of(turn: ConductorTurn, events: Iterable[Recorded]) -> Notes:
    """What these events change, in their order: of several about one row the last counts."""
    seen = _Seen()
    for recorded in events:
        seen.see(recorded)
    timed = {stream: stage for stream, stage in seen.stages.items() if not isinstance(stage[0], e.TaskQueued)}
    loaded = await turn.load([*{**seen.blocked, **timed, **seen.looking}])
    ran_before = await turn.load([*set(seen.after.values())]) if seen.after else {}
    submitted = {stream: _submitted(rows[0].event()) for stream, rows in loaded.items()}
    needs: list[Need] = []
    edges: list[Edge] = []
    for stream in seen.blocked:
        _add_needs(stream, submitted[stream], needs, edges)
    timers = {stream: _timers(stream, *stage, submitted.get(stream)) for stream, stage in seen.stages.items()}
    return Notes(
        queued=tuple(_placed(waiting, seen.after.get(stream), ran_before) for stream, waiting in seen.queued.items()),
        left=tuple(seen.left),
        moved=seen.moved,
        needs=tuple(needs),
        edges=tuple(edges),
        looked_up=tuple({edge.upstream for edge in edges} - seen.fresh),
        ended=seen.ended,
        timers=tuple(timer for some in timers.values() for timer in some),
        members=tuple(seen.members),
        cancelled=tuple(seen.cancelled),
        fail_fast=tuple(seen.fail_fast),
        opened=tuple(seen.opened),
        closed=tuple(seen.closed),
        spread=seen.spread,
        workers=tuple(seen.workers.values()),
        draining=seen.draining,
        schedules=seen.schedules.notes(),
        limits=tuple(seen.limits.values()),
        entries=tuple(seen.entries.values()),
        looks=tuple(_looks(seen.looking, loaded)) if seen.looking else (),
        lanes=tuple({_placed(one, seen.after.get(task), ran_before).lane for task, one in seen.popped.items()}),
    )


class _Seen:
    def __init__(self) -> None:
        self.queued: dict[UUID, Waiting] = {}
        self.left: dict[UUID, None] = {}
        self.moved: dict[UUID, timedelta] = {}
        self.blocked: dict[UUID, None] = {}
        self.fresh: set[UUID] = set()
        self.stages: dict[UUID, tuple[e.Event, Recorded]] = {}
        self.ended: dict[UUID, str] = {}
        self.members: list[tuple[UUID, UUID]] = []
        self.cancelled: list[UUID] = []
        self.fail_fast: list[UUID] = []
        self.opened: list[UUID] = []
        self.closed: list[UUID] = []
        self.spread: dict[UUID, int] = {}
        self.workers: dict[str, tuple[UUID, e.WorkerRegistered]] = {}
        self.draining: dict[str, bool] = {}
        self.schedules = scheduling.Seen()
        self.limits: dict[str, e.LimitChanged] = {}
        self.after: dict[UUID, UUID] = {}
        self.popped: dict[UUID, Waiting] = {}
        self.looking: dict[UUID, tuple[Recorded, timedelta]] = {}
        self.entries: dict[bytes, Entry] = {}

    def see(self, recorded: Recorded) -> None:
        stream = recorded.stream
        if recorded.type in e.ENDS:
            self._end(stream, recorded.type.split(".")[1])
            if recorded.type == e.TaskSucceeded.TYPE and may_keep(recorded.body):
                self._keep(recorded, recorded.event())
        elif recorded.type == e.RunLeased.TYPE:
            if queued := self.queued.pop(stream, None):
                self.popped[stream] = queued
                self.looking.pop(stream, None)
            self.stages.pop(stream, None)
            self.left[stream] = None
        elif recorded.type == e.TaskPaused.TYPE:
            self.queued.pop(stream, None)
            self.looking.pop(stream, None)
            self.left[stream] = None
        else:
            self._open(recorded, recorded.event())

    def _end(self, stream: UUID, status: str) -> None:
        self.ended[stream] = status
        rows = (self.queued, self.left, self.moved, self.blocked, self.stages, self.popped, self.looking)
        for table in (*rows, self.schedules.opened):
            table.pop(stream, None)

    def _keep(self, recorded: Recorded, event: e.Event) -> None:
        if isinstance(event, e.TaskSucceeded) and event.cache is not None:
            key, ended = entry_of(recorded.namespace, event.cache.key), recorded.recorded_at
            self.entries[key] = Entry(key, recorded.stream, ended, ended + event.cache.ttl)

    def _open(self, recorded: Recorded, event: e.Event) -> None:
        stream = recorded.stream
        match event:
            case e.TaskQueued(priority=priority):
                self.stages[stream] = (event, recorded)
                key = queue_key(recorded.recorded_at, priority)
                self.queued[stream] = Waiting(key, recorded.position, stream, lane_of(recorded.namespace, event))
                if event.same_worker_as is not None:
                    self.after[stream] = event.same_worker_as
                if event.cache is not None:
                    self.looking[stream] = (recorded, event.cache.ttl)
                self.left.pop(stream, None)
                self.moved.pop(stream, None)
                self._first(recorded)
            case e.TaskPriorityChanged(priority=priority, was=was) if stream in self.queued:
                queued = self.queued[stream]
                self.queued[stream] = replace(queued, key=queued.key + moved(was, priority))
            case e.TaskPriorityChanged(priority=priority, was=was):
                self.moved[stream] = self.moved.get(stream, timedelta(0)) + moved(was, priority)
            case e.TaskBlocked(by=by):
                self.stages[stream] = (event, recorded)
                if any(isinstance(one, e.Blocker | e.BlockerSet) for one in by):
                    self.blocked[stream] = None
                self._first(recorded)
            case e.RunStarted():
                self.stages[stream] = (event, recorded)
            case e.RunFailed() | e.RunLost() if event.retry_at is not None:
                self.stages[stream] = (event, recorded)
            case (
                e.WorkflowSubmitted() | e.WorkflowExtended() | e.WorkflowCancelled() | e.TaskSpread() | e.TaskRecalled()
            ):
                self._whole(stream, event)
            case e.WorkerRegistered(worker_id=worker_id):
                self.workers[worker_id] = (stream, event)
            case e.WorkerDraining(worker_id=worker_id) | e.WorkerServing(worker_id=worker_id):
                self.draining[worker_id] = isinstance(event, e.WorkerDraining)
            case (
                e.ScheduleDefined()
                | e.SchedulePaused()
                | e.ScheduleResumed()
                | e.ScheduleDeleted()
                | e.ScheduleFired()
                | e.FireSkipped()
            ):
                self.schedules.see(recorded, event)
            case e.LimitChanged(scope=scope):
                self.limits[scope] = event
            case _:
                pass

    def _whole(self, stream: UUID, event: e.WorkflowEvent | e.TaskSpread | e.TaskRecalled) -> None:
        match event:
            case e.WorkflowSubmitted(tasks=tasks, on_failure=on_failure):
                self.members += [(stream, node.stream) for node in tasks]
                self.fail_fast += [stream] if on_failure == "fail-fast" else []
                self.opened += [stream] if event.open else []
            case e.WorkflowExtended(tasks=tasks):
                self.members += [(stream, node.stream) for node in tasks]
                self.closed += [] if event.open else [stream]
            case e.TaskSpread(children=children):
                self.stages.pop(stream, None)
                self.spread[stream] = children
                self.members += [(stream, child_stream(stream, index)) for index in range(children)]
                self.opened.append(stream)
            case e.TaskRecalled():
                self.cancelled.append(stream)
            case e.WorkflowCancelled():
                self.cancelled.append(stream)
                self.closed.append(stream)
            case _:
                pass

    def _first(self, recorded: Recorded) -> None:
        if recorded.version == 2:
            self.fresh.add(recorded.stream)


def _placed(waiting: Waiting, after: UUID | None, loaded: Mapping[UUID, Sequence[Recorded]]) -> Waiting:
    """In the lane of the worker that ran `after` last; of any if none did."""
    runs = [row for row in loaded.get(after, ()) if row.type == e.RunLeased.TYPE] if after else []
    if not runs:
        return waiting
    event = runs[-1].event()
    assert isinstance(event, e.RunLeased), "chosen by its type"
    return replace(waiting, lane=replace(waiting.lane, worker=event.worker_id))


def _looks(
    looking: Mapping[UUID, tuple[Recorded, timedelta]], loaded: Mapping[UUID, Sequence[Recorded]]
) -> Iterable[Look]:
    for stream, (recorded, ttl) in looking.items():
        facts = task_of(loaded[stream]).facts
        if looks(facts.submitted):
            yield Look(stream, entry_of(recorded.namespace, key_for(facts)), ttl, recorded.recorded_at)


def _until(by: Iterable[e.AnyBlocker]) -> datetime | None:
    """The time that a blocked task waits for; None: it waits for something else first."""
    times = [one.until if isinstance(one, e.BlockerTime) else None for one in by]
    return None if None in times else max(filter(None, times))


def _timers(stream: UUID, event: e.Event, recorded: Recorded, submitted: e.TaskSubmitted | None) -> list[Timer]:
    """What is due by time for a task whose stage began with `event`. `submitted`: for all but those queued."""
    at = recorded.recorded_at
    if isinstance(event, e.TaskQueued):
        late = [Timer(stream, "queue", recorded.version, at + event.timeout)] if event.timeout else []
        return [*late, Timer(stream, "expire", 0, event.expires_at)] if event.expires_at else late
    assert submitted is not None, "all but queued tasks are loaded"
    if isinstance(event, e.RunStarted):
        return [Timer(stream, "run", event.fence, at + submitted.timeouts.run)]
    expires_at = submitted.spec.expires_at
    expires = [Timer(stream, "expire", 0, expires_at)] if expires_at else []
    if isinstance(event, e.TaskBlocked):
        until, waits = _until(event.by), deadlines(event)
        forward = [Timer(stream, "forward", 0, min(waits.values()))] if waits else []
        return [*expires, *forward, *([Timer(stream, "wake", 0, until)] if until else [])]
    assert isinstance(event, e.RunFailed | e.RunLost), "the stages that time matters in"
    assert event.retry_at is not None
    return [*expires, Timer(stream, "wake", event.fence, event.retry_at)]


def _add_needs(stream: UUID, submitted: e.TaskSubmitted, needs: list[Need], edges: list[Edge]) -> None:
    upstream = {one.task_id: one.stream for one in submitted.depends_on}
    for number, requirement in enumerate(requirements(submitted.spec.depends_on)):
        needs.append(Need(stream, number, requirement.at_least, len(requirement.of)))
        edges += [Edge(stream, number, upstream[name], name, MEETS[when]) for name, when in requirement.of.items()]


def _submitted(event: e.Event) -> e.TaskSubmitted:
    assert isinstance(event, e.TaskSubmitted), "a task's stream begins with its submission"
    return event
