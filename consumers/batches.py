"""What the commands of one batch see and add: committed streams and names, and each other's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from domain import events as e
from domain import limit, schedule, worker, workflow
from domain.errors import NotFound
from domain.folding import limit_of, schedule_of, task_of, task_type_of, worker_of, workflow_of
from domain.ids import spelt
from domain.input_schema import Effort
from domain.limit import Limit
from domain.messages import Cause
from domain.ports.handling import Named, NameKey, Outcome, Writes
from domain.ports.log import NewId
from domain.recorded import NewEvent, Recorded, new_events
from domain.schedule import Schedule
from domain.specs import TaskSpec
from domain.task_states import Held, Task, evolve
from domain.task_type import TaskType, Types, type_of, type_stream
from domain.task_type import evolve as evolve_type
from domain.work import Reply
from domain.worker import Worker
from domain.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Given:
    """What every decision of a handler may use. `base_image`: the image of the built-in task types."""

    new_id: NewId
    base_image: str
    installation: UUID


@dataclass(slots=True)
class Batch:
    """Decisions are made one after the other; each sees the ones before it. Nothing is stored before all are made.

    `patient`: what names something unknown may still wait for it. `unseen`: None while no promised name was found, so
    that no stored task waits for one of this batch; else what such tasks wait for was looked up, but for these streams.
    `effort`: what the command that is decided has left.
    """

    given: Given
    now: datetime
    names: dict[NameKey, Named] = field(default_factory=dict[NameKey, Named])
    streams: Mapping[UUID, Sequence[Recorded]] = field(default_factory=dict[UUID, Sequence[Recorded]])
    alive: frozenset[str] = frozenset()
    unseen: frozenset[UUID] | None = None
    claimed: dict[NameKey, Named] = field(default_factory=dict[NameKey, Named])
    events: list[NewEvent] = field(default_factory=list[NewEvent])
    closed: list[tuple[UUID, int]] = field(default_factory=list[tuple[UUID, int]])
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    patient: bool = False
    effort: Effort = field(default_factory=Effort)
    _tasks: dict[UUID, Task] = field(default_factory=dict[UUID, Task])
    _heads: dict[UUID, int] = field(default_factory=dict[UUID, int])

    def named(self, namespace: str, kind: str, name: str) -> Named | None:
        """Whose name it is, as far as it was looked up or is claimed in this batch."""
        key = NameKey(namespace, kind, name)
        return self.claimed.get(key) or self.names.get(key)

    def stream_of(self, namespace: str, kind: str, name: str) -> UUID:
        """The stream that a name, or an id, stands for within a namespace. Raises NotFound."""
        if named := self.named(namespace, kind, name):
            return named.stream
        stream = spelt(name)
        events = self._stored(stream, kind) if stream else ()
        if not stream or not events or events[0].namespace != namespace:
            raise NotFound(f"{kind}_id: no {kind} {name} in namespace {namespace}; check the id and the namespace")
        return stream

    def claim(self, key: NameKey, named: Named) -> None:
        """Take a name with this batch."""
        self.claimed[key] = named

    def promise(self, key: NameKey, stream: UUID) -> None:
        """Have a name stay promised to a stream. One that this batch has taken, as it seemed free, is left so: the
        store says so, and the batch is decided again."""
        self.claimed.setdefault(key, Named(stream, b""))

    def task(self, stream: UUID) -> Task | None:
        """A task as committed, and as this batch has changed it."""
        if stream not in self._tasks and (events := self._stored(stream, "task")):
            self._tasks[stream] = task_of(events)
        return self._tasks.get(stream)

    def history(self, stream: UUID) -> list[e.Event]:
        """All events of a task, as committed and as this batch adds them."""
        return [*(recorded.event() for recorded in self._stored(stream, "task")), *self._added(stream)]

    def workflow(self, stream: UUID) -> Workflow | None:
        """A workflow as committed, and as this batch has changed it."""
        committed = self._stored(stream, "workflow")
        state = workflow_of(committed) if committed else None
        for event in self._added(stream):
            state = workflow.evolve(state, stream, event)
        return state

    def worker(self, stream: UUID) -> Worker | None:
        """A worker as committed, and as this batch has changed it."""
        state = worker_of(self.streams.get(stream, ()))
        for event in self._added(stream):
            state = worker.evolve(state, stream, event)
        return state

    def schedule(self, stream: UUID) -> Schedule | None:
        """A schedule as committed, and as this batch has changed it."""
        state = schedule_of(self.streams.get(stream, ()))
        for event in self._added(stream):
            state = schedule.evolve(state, stream, event, self.now)
        return state

    def fired(self, stream: UUID) -> e.ScheduleFired | None:
        """What a stream of a fire says of it, if it did fire."""
        events = [*(recorded.event() for recorded in self.streams.get(stream, ())), *self._added(stream)]
        return next((event for event in events if isinstance(event, e.ScheduleFired)), None)

    def limit(self, stream: UUID) -> Limit | None:
        """A limit as committed, and as this batch has changed it."""
        state = limit_of(self.streams.get(stream, ()))
        for event in self._added(stream):
            state = limit.evolve(state, stream, event)
        return state

    def task_type(self, stream: UUID) -> TaskType | None:
        """A task type as committed, and as this batch has changed it."""
        state = task_type_of(self.streams.get(stream, ()))
        for event in self._added(stream):
            state = evolve_type(state, stream, event)
        return state

    def types(self, namespace: str, specs: Iterable[TaskSpec]) -> Types:
        """The task types that these tasks name, as far as they are known."""
        names = {name for spec in specs if (name := type_of(spec)) is not None}
        found = {name: self.task_type(type_stream(namespace, name)) for name in names}
        put = {name: one for name, one in found.items() if one is not None}
        return Types(self.given.base_image, put, effort=self.effort)

    def namespace(self, stream: UUID) -> str | None:
        """The namespace of a stream that was loaded."""
        events = self.streams.get(stream)
        return events[0].namespace if events else None

    def add(self, stream: UUID, namespace: str, events: Sequence[e.Event], cause: Cause) -> int:
        """Append to a stream with this batch; its version then."""
        head = self._heads.get(stream)
        if head is None:
            head = self.streams[stream][-1].version if stream in self.streams else 0
        self.events += new_events(stream, head, namespace, events, cause)
        self._heads[stream] = head + len(events)
        return self._heads[stream]

    def change_task(self, stream: UUID, namespace: str, events: Sequence[e.TaskEvent], cause: Cause) -> int:
        """Append to a task; a lease that ends with it is closed."""
        before = after = self._tasks[stream]
        for event in events:
            after = evolve(after, stream, event)
        self._tasks[stream] = after
        if isinstance(before, Held) and not isinstance(after, Held):
            self.closed.append((before.lease.run_id, before.lease.fence))
        return self.add(stream, namespace, events, cause)

    def _stored(self, stream: UUID, kind: str) -> Sequence[Recorded]:
        """A stream as committed; empty unless it is of this kind, for any id may be named as any kind of thing."""
        events = self.streams.get(stream, ())
        return events if events and events[0].type == f"{kind}.submitted.v1" else ()

    def _added(self, stream: UUID) -> list[e.Event]:
        return [new.event for new in self.events if new.stream == stream] if stream in self._heads else []

    def writes(self) -> Writes:
        """All that this batch changes."""
        return Writes(self.outcomes, self.claimed, self.closed, self.events)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one command: the reply, and where the stream that it is about stands now."""

    reply: Reply
    stream: UUID | None = None
    version: int | None = None
