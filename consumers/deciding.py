"""What rows call for becomes events, each on the present head of its stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce
from typing import TypeAlias
from uuid import UUID

from domain import events as e
from domain import task, worker, workflow
from domain.errors import BadState
from domain.folding import task_of, worker_of, workflow_of
from domain.messages import Cause
from domain.offering import Leased
from domain.ports.tracing import Traces
from domain.recorded import NewEvent, Recorded, new_events
from domain.task_states import Facts, Task, evolve

Command: TypeAlias = task.Decision | workflow.Cancel | workflow.Finish | worker.Lose
Streams: TypeAlias = Mapping[UUID, Sequence[Recorded]]
DISPATCHER = "dispatcher"
"""The actor of grants."""
MOST_SECONDS = 0.25
"""In a round: what each kind of new and filled tasks may take of the processor, but for the last one. Some take a tenth
of a second, to be filled and held against a schema, and all others wait meanwhile."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a row calls for: `command` on `stream`, because of `cause`."""

    stream: UUID
    command: Command
    cause: Cause


@dataclass(slots=True)
class Draft:
    """The events of one round, decided on the heads of `loaded` at `now`. A stream is decided once a round, those
    `left` not at all; only a task that was freed, or woken, may be granted in the same round."""

    loaded: Streams
    left: frozenset[UUID]
    now: datetime
    traces: Traces
    events: list[NewEvent] = field(default_factory=list[NewEvent])
    leased: list[Leased] = field(default_factory=list[Leased])
    freed: dict[UUID, tuple[Task, Cause]] = field(default_factory=dict[UUID, tuple[Task, Cause]])
    _decided: set[UUID] = field(default_factory=set[UUID])

    def open(self, stream: UUID) -> bool:
        """Whether a task can be granted in this round."""
        return stream not in self.left and (stream in self.freed or stream not in self._decided)

    def undecided(self, stream: UUID) -> bool:
        """Whether a decision on this stream would be made in this round."""
        return stream not in self.left and stream not in self._decided

    def begin(self, stream: UUID, namespace: str, events: Sequence[e.Event], cause: Cause) -> None:
        """Add a new stream."""
        with self.traces.step("process conductor", cause) as inside:
            self.add(stream, namespace, events, inside)

    def add(self, stream: UUID, namespace: str, events: Sequence[e.Event], cause: Cause) -> None:
        """Add a new stream, within a step."""
        self.events += new_events(stream, 0, namespace, events, cause)

    def decide(self, wish: Wish) -> Sequence[e.Event] | None:
        """The events that follow, none when it is already so; None when this stream has to wait for the next round."""
        if wish.stream in self.left or wish.stream in self._decided:
            return None
        self._decided.add(wish.stream)
        rows = self.loaded.get(wish.stream)
        if not rows:
            return ()
        match wish.command:
            case workflow.Cancel() | workflow.Finish():
                return self._decide_workflow(wish, wish.command)
            case worker.Lose():
                state = worker_of(rows)
                return self._add(wish, worker.lose(state, wish.command) if state else ())
            case _:
                return self._decide_task(wish, wish.command, task_of(rows))

    def grant(self, stream: UUID, grant: task.Grant) -> Sequence[e.Event] | None:
        """As `decide`; a task that was freed in this round is granted too."""
        if stream in self.freed:
            state, cause = self.freed[stream]
            return self._decide_task(Wish(stream, grant, cause), grant, state)
        return self.decide(Wish(stream, grant, self.loaded[stream][-1].following(DISPATCHER)))

    def _decide_workflow(self, wish: Wish, command: workflow.Cancel | workflow.Finish) -> Sequence[e.Event]:
        try:
            return self._add(wish, workflow.decide(workflow_of(self.loaded[wish.stream]), command))
        except BadState:
            return ()

    def _decide_task(self, wish: Wish, command: task.Decision, state: Task) -> Sequence[e.Event]:
        try:
            events = task.decide(state, command, self.now)
        except BadState:
            return ()
        if events and isinstance(events[-1], e.TaskQueued) and isinstance(command, task.Free | task.Wake):
            freed = reduce(lambda before, event: evolve(before, wish.stream, event), events, state)
            self.freed[wish.stream] = (freed, replace(wish.cause, actor=DISPATCHER))
        added = self._add(wish, events, state.version)
        if isinstance(command, task.Grant):
            self._lease(added, state.facts)
        return added

    def _lease(self, events: Sequence[e.Event], facts: Facts) -> None:
        work = facts.filled or facts.submitted.work
        for new in self.events[len(self.events) - len(events) :]:
            if isinstance(new.event, e.RunLeased):
                self.leased.append(Leased(new.stream, new.namespace, new.event, facts.submitted, work, new.cause))

    def _add(self, wish: Wish, events: Sequence[e.Event], version: int | None = None) -> Sequence[e.Event]:
        if events:
            rows = self.loaded[wish.stream]
            head = rows[-1].version if version is None else version
            with self.traces.step("process conductor", wish.cause) as cause:
                self.events += new_events(wish.stream, head, rows[0].namespace, events, cause)
        return events
