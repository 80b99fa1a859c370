"""The tables that the conductor works on, in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from domain.caching import Entry
from domain.dispatching import Waiting
from domain.events import LimitChanged, WorkerRegistered
from domain.lease_clock import LeaseClock
from domain.ports.conducting import CANCELS_IN_TURN, Edge, Need, NewLease, Timer, TimerKind

NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LastBeat:
    """A worker's last beat. `heard`: the lease clock at its receipt."""

    generation: int
    beat: int
    received_at: datetime
    heard: float


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A registration. `since`: the lease clock when it was read. `draining`: it is given nothing."""

    stream: UUID
    registered: WorkerRegistered
    since: float
    lost: bool = False
    draining: bool = False
    granted_at: datetime = NEVER


@dataclass(slots=True)
class Rows:
    """All rows. `leases`: by run, with whether a beat has listed it. `edges`: by (downstream, need, upstream), with the
    end. `members`: task -> (workflow, end). `last`: workflow -> the last of its tasks to end. `fail_fast`:
    workflow -> the task for which it is to be cancelled. `open`: workflows that further tasks are to come to.
    `limits`: by scope. `starts`: (scope, when). `schedules`: what is dealt with, and when to look again.
    `schedule_tasks`: their open tasks -> schedule. `cache`: results that may be taken, by key. `looking`: tasks in the
    queue -> the key of the one that they would take. `hits`: task -> its place in the queue, and whose result it takes.
    `spreads`: task -> (children dealt with, children)."""

    clock: LeaseClock = field(default_factory=lambda: LeaseClock(0.0, NEVER))
    leases: dict[UUID, tuple[NewLease, bool]] = field(default_factory=dict[UUID, tuple[NewLease, bool]])
    beats: dict[str, LastBeat] = field(default_factory=dict[str, LastBeat])
    workers: dict[str, WorkerRow] = field(default_factory=dict[str, WorkerRow])
    queue: dict[UUID, Waiting] = field(default_factory=dict[UUID, Waiting])
    needs: dict[tuple[UUID, int], Need] = field(default_factory=dict[tuple[UUID, int], Need])
    edges: dict[tuple[UUID, int, UUID], tuple[Edge, str | None]] = field(
        default_factory=dict[tuple[UUID, int, UUID], tuple[Edge, str | None]]
    )
    settled: dict[UUID, UUID] = field(default_factory=dict[UUID, UUID])
    timers: dict[tuple[UUID, TimerKind], Timer] = field(default_factory=dict[tuple[UUID, TimerKind], Timer])
    members: dict[UUID, tuple[UUID, str | None]] = field(default_factory=dict[UUID, tuple[UUID, str | None]])
    last: dict[UUID, UUID | None] = field(default_factory=dict[UUID, UUID | None])
    spreads: dict[UUID, tuple[int, int]] = field(default_factory=dict[UUID, tuple[int, int]])
    cancels: dict[UUID, UUID] = field(default_factory=dict[UUID, UUID])
    fail_fast: dict[UUID, UUID | None] = field(default_factory=dict[UUID, UUID | None])
    open: dict[UUID, None] = field(default_factory=dict[UUID, None])
    schedules: dict[UUID, tuple[datetime, datetime | None]] = field(
        default_factory=dict[UUID, "tuple[datetime, datetime | None]"]
    )
    schedule_tasks: dict[UUID, UUID] = field(default_factory=dict[UUID, UUID])
    cache: dict[bytes, Entry] = field(default_factory=dict[bytes, Entry])
    looking: dict[UUID, bytes] = field(default_factory=dict[UUID, bytes])
    hits: dict[UUID, tuple[Waiting, UUID]] = field(default_factory=dict[UUID, "tuple[Waiting, UUID]"])
    limits: dict[str, LimitChanged] = field(default_factory=dict[str, LimitChanged])
    starts: list[tuple[str, datetime]] = field(default_factory=list[tuple[str, datetime]])

    def copy(self) -> "Rows":
        """Rows that change apart from these."""
        copied = Rows(self.clock, starts=list(self.starts))
        for name in _TABLES:
            setattr(copied, name, dict(getattr(self, name)))
        return copied

    def become(self, other: "Rows") -> None:
        """Take on all that `other` holds, but the answer to the last probe, which is not the conductor's."""
        answered, answered_at = self.clock.answered, self.clock.answered_at
        for name in (*_TABLES, "starts"):
            setattr(self, name, getattr(other, name))
        self.clock = replace(other.clock, answered=answered, answered_at=answered_at)


_TABLES = (
    "leases", "beats", "workers", "queue", "needs", "edges", "settled", "timers", "members", "last", "cancels",
    "fail_fast", "open", "limits", "schedules", "schedule_tasks", "cache", "looking", "hits", "spreads",
)  # fmt: skip


def in_turn(cancels: Mapping[UUID, UUID]) -> list[tuple[UUID, UUID]]:
    """What is to be cancelled, and why, one task of each cause in turn, of a few causes at a time."""
    of: dict[UUID, list[UUID]] = {}
    for task, cause in sorted(cancels.items()):
        of.setdefault(cause, []).append(task)
    few = sorted(of)[:CANCELS_IN_TURN]
    turns = sorted((place, cause, task) for cause in few for place, task in enumerate(of[cause]))
    return [(task, cause) for _, cause, task in turns]
