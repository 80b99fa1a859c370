"""What the conductor keeps between rounds: rows that say what waits for what. Its loop holds no copy of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypeAlias
from uuid import UUID

from domain.caching import Entry, Hit, Look
from domain.crowding import Member
from domain.dependencies import Standing
from domain.dispatching import Load, Waiting
from domain.events import LimitChanged, WorkerRegistered
from domain.hosts import Host
from domain.lanes import Lane
from domain.lease_clock import LeaseClock
from domain.ports.log import AppendingTurn
from domain.ports.spreading import Spreading, SpreadOn

CANCELS_IN_TURN = 5
"""Workflows and tasks, cancelled together, whose own tasks are cancelled in one round: each is loaded for it."""


@dataclass(frozen=True, slots=True)
class Edge:
    """`downstream` waits for `upstream`, which its user calls `name`, to end as one of `met_by`: for its requirement
    number `need`."""

    downstream: UUID
    need: int
    upstream: UUID
    name: str
    met_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Need:
    """A requirement of `downstream`: `at_least` of its `size` edges must be met."""

    downstream: UUID
    number: int
    at_least: int
    size: int


TimerKind: TypeAlias = Literal["run", "wake", "queue", "expire", "forward"]


@dataclass(frozen=True, slots=True)
class Timer:
    """From `due` on the run under lease `fence` of `task` is over time (`run`), the task may be queued (`wake`), has
    been in the queue too long (`queue`: `fence` is the version at which it came there), expires if it still waits
    (`expire`), or if it still waits for a task that nobody has submitted (`forward`). One that is over when its stage
    is over too is without power."""

    task: UUID
    kind: TimerKind
    fence: int
    due: datetime


@dataclass(frozen=True, slots=True)
class ScheduleNotes:
    """What a page of events changes in the rows of schedules. `looks`: when to look at each, None: not at all. `gone`:
    deleted ones. `passed`: up to where each is dealt with. `opened`: the tasks they have submitted -> schedule."""

    looks: Mapping[UUID, datetime | None] = field(default_factory=dict[UUID, "datetime | None"])
    gone: Sequence[UUID] = ()
    passed: Mapping[UUID, datetime] = field(default_factory=dict[UUID, datetime])
    opened: Mapping[UUID, UUID] = field(default_factory=dict[UUID, UUID])


@dataclass(frozen=True, slots=True)
class Notes:
    """What a page of events changes in the rows, at most once a row.

    `left`: tasks that were queued before and are not now. `moved`: by how much the keys of those in the queue change.
    `ended`: how each task ended. `looked_up`: upstreams of new edges that may have ended before this page.
    `members`: (workflow, task). `cancelled`, `fail_fast`: workflows. `opened`, `closed`: those to which further tasks
    are to come, and those to which none are any more. `spread`: tasks that become children -> how many; these are their
    members. `workers`: (stream, registration), the last of each worker. `draining`: whether each is given nothing from
    now on, by its id. `limits`: the last change of each. `lanes`: of tasks that were queued and leased in the page.
    `entries`: results that may be taken, the last of each key; `looks`: queued tasks that take one.
    """

    queued: Sequence[Waiting] = ()
    left: Sequence[UUID] = ()
    moved: Mapping[UUID, timedelta] = field(default_factory=dict[UUID, timedelta])
    needs: Sequence[Need] = ()
    edges: Sequence[Edge] = ()
    looked_up: Sequence[UUID] = ()
    ended: Mapping[UUID, str] = field(default_factory=dict[UUID, str])
    timers: Sequence[Timer] = ()
    members: Sequence[tuple[UUID, UUID]] = ()
    cancelled: Sequence[UUID] = ()
    fail_fast: Sequence[UUID] = ()
    opened: Sequence[UUID] = ()
    closed: Sequence[UUID] = ()
    spread: Mapping[UUID, int] = field(default_factory=dict[UUID, int])
    workers: Sequence[tuple[UUID, WorkerRegistered]] = ()
    draining: Mapping[str, bool] = field(default_factory=dict[str, bool])
    schedules: ScheduleNotes = ScheduleNotes()
    limits: Sequence[LimitChanged] = ()
    lanes: Sequence[Lane] = ()
    entries: Sequence[Entry] = ()
    looks: Sequence[Look] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """A blocked task whose fate is known since `cause`, an upstream, ended. `standings`: of its requirements."""

    task: UUID
    cause: UUID
    standings: Sequence[Standing]


@dataclass(frozen=True, slots=True)
class Complete:
    """A workflow all of whose tasks have ended, or a task all of whose children have, `last` the last of them (None:
    there are none). `counts`: status -> how many."""

    workflow: UUID
    last: UUID | None
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Planned:
    """A schedule to look at now. All up to `done_to` is dealt with. `open`: those of its tasks that have not ended,
    as many as count."""

    schedule: UUID
    done_to: datetime
    open: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class Rested:
    """A schedule that was looked at: what is dealt with now, and when to look again."""

    schedule: UUID
    done_to: datetime
    due: datetime | None


@dataclass(frozen=True, slots=True)
class Agenda:
    """Rows that call for a decision now. `cancels`: (task, workflow) of cancelled workflows, or (child, task) of
    cancelled tasks, one of each in turn, of CANCELS_IN_TURN at a time. `due`: past timers. `spreading`: those with the
    fewest children so far first. `failing`: (workflow, its first task that failed) of workflows that fail fast and are
    not complete. `planned`: schedules that may be due. `hits`: tasks that are to take a result."""

    cancels: Sequence[tuple[UUID, UUID]] = ()
    settled: Sequence[Settled] = ()
    complete: Sequence[Complete] = ()
    failing: Sequence[tuple[UUID, UUID]] = ()
    due: Sequence[Timer] = ()
    planned: Sequence[Planned] = ()
    hits: Sequence[Hit] = ()
    spreading: Sequence[Spreading] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """Where things stand at the beginning of a round. `hosts`: the workers that are not lost and have beaten in their
    current generation. `load`: what counts for limits. `waiting`: the least queued tasks of each lane, as many as there
    is room for. `crowd`: who is queued, or held, where one that is queued may cost a task its place. `next_due`: when
    the next timer or schedule is due, or the next task may start that waits for a rate."""

    agenda: Agenda
    clock: LeaseClock
    next_due: datetime | None = None
    hosts: Sequence[Host] = ()
    load: Load = field(default_factory=Load)
    waiting: Sequence[Waiting] = ()
    crowd: Sequence[Member] = ()


@dataclass(frozen=True, slots=True)
class Expired:
    """A lease whose time is over, locked until the turn ends."""

    run_id: UUID
    task: UUID
    fence: int
    accepted: bool


@dataclass(frozen=True, slots=True)
class Silent:
    """A worker that was not heard for a lease term. `runs`: those whose leases it holds."""

    stream: UUID
    worker_id: str
    generation: int
    runs: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class NewLease:
    """A lease that was just given. `until`: on the lease clock."""

    run_id: UUID
    fence: int
    task: UUID
    worker_id: str
    generation: int
    until: float
    lane: Lane


@dataclass(frozen=True, slots=True)
class Dealt:
    """Rows that are dealt with: what they called for is decided in this turn, or no longer called for.

    `settled`, `cancelled`, `unqueued`: tasks. `timed`: timers of such; `again`: those that stay, with another time.
    `complete`, `failing`: workflows; these need not fail any more. `closed`: runs whose lease is over. `lost`: (worker,
    generation). `granted`: when each worker was given its last lease. `crowded_out`: tasks that are cancelled for
    others. `starts`: (scope, when), once for each lease that the rate of the scope counts. `rested`: schedules,
    `opened`: the tasks they have submitted -> schedule. `spread`: tasks whose children are dealt with further.
    `reused`: tasks that have taken a result, or wait no more. `missed`: those whose result is gone: back to the queue.
    """

    settled: Sequence[UUID] = ()
    cancelled: Sequence[UUID] = ()
    complete: Sequence[UUID] = ()
    failing: Sequence[UUID] = ()
    timed: Sequence[Timer] = ()
    again: Sequence[Timer] = ()
    closed: Sequence[UUID] = ()
    lost: Sequence[tuple[str, int]] = ()
    unqueued: Sequence[UUID] = ()
    leases: Sequence[NewLease] = ()
    granted: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    rested: Sequence[Rested] = ()
    opened: Mapping[UUID, UUID] = field(default_factory=dict[UUID, UUID])
    crowded_out: Sequence[UUID] = ()
    starts: Sequence[tuple[str, datetime]] = ()
    reused: Sequence[UUID] = ()
    missed: Sequence[UUID] = ()
    spread: Sequence[SpreadOn] = ()

    @property
    def grants_alone(self) -> bool:
        """Whether nothing is dealt with but tasks that leave the queue."""
        return not self.settled and self._frees_and_grants

    @property
    def _frees_and_grants(self) -> bool:
        others = (self.cancelled, self.complete, self.failing, self.timed, self.again, self.closed, self.lost)
        return not any(others) and not (self.crowded_out or self.rested or self.spread)

    @property
    def nothing(self) -> bool:
        """Whether no row is dealt with."""
        return not any(getattr(self, each.name) for each in fields(self))

    def only_grants(self, settled: int, leases: int) -> bool:
        """Whether runs were granted, and tasks settled for that, fewer than these limits, and nothing else was done."""
        within = 0 < len(self.leases) < leases and len(self.settled) < settled
        return within and self._frees_and_grants and not self.reused and not self.missed


class ConductorTurn(AppendingTurn, Protocol):
    """One round. Reads see what the round has written; nothing remains of a round that fails."""

    async def note(self, notes: Notes) -> None:
        """Bring the rows up to the page. An edge whose upstream has ended, in the page or ever before, is ended; a task
        is settled once all its needs are met, or one can no longer be; a workflow, or a task that was spread, complete
        once all its tasks have ended and no further ones are to come. A task that ended leaves all queues, one that
        finds a result the queue.
        """
        ...

    async def survey(self, limit: int, grants: int) -> Survey:
        """What is to be decided now, the oldest first, at most `limit` of each kind; the lease clock; the workers; at
        most `grants` waiting tasks of a lane."""
        ...

    async def set_clock(self, clock: LeaseClock) -> None:
        """Store all but the answer, which the intake of beats writes. Comes before `expired` in a turn."""
        ...

    async def expired(self, clock: float, limit: int) -> Sequence[Expired]:
        """Leases over at `clock` that no beat is renewing at this moment: locked, by run id."""
        ...

    async def silent(self, clock: float, limit: int) -> Sequence[Silent]:
        """Workers not yet lost that have neither registered nor beaten for a lease term."""
        ...

    async def deal(self, dealt: Dealt) -> None:
        """Take away the rows that are dealt with, store the new leases."""
        ...

    async def make_partitions(self) -> None:
        """Have the log's partitions of the coming months. In a turn of its own: it locks the whole log for a moment."""
        ...
