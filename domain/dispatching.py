"""Who runs what next, and why a task waits. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, TypeAlias
from uuid import UUID

from domain.lease_clock import LEASE_TERM
from domain.task import Grant

AGEING_STEP = timedelta(minutes=10)
"""What one step of priority is worth in waiting time: a task overtakes the next higher priority after so long."""

WhyNot: TypeAlias = Literal["no-worker", "worker-silent", "no-slot"]


@dataclass(frozen=True, slots=True, order=True)
class Waiting:
    """A queued task. The least goes first: `key` is constant, so nothing has to be sorted anew as time passes."""

    key: datetime
    position: int
    task: UUID
    pool: str
    executor: str


@dataclass(frozen=True, slots=True)
class Host:
    """A worker as the dispatcher sees it. `held`: its open leases, counted. `granted_at`: its last grant.

    `beat` is the last of this generation, received at `received_at`, when the lease clock stood at `heard`.
    """

    worker_id: str
    generation: int
    pool: str
    executors: frozenset[str]
    slots: int
    held: int
    beat: int
    received_at: datetime
    heard: float
    granted_at: datetime

    def serves(self, pool: str, executor: str) -> bool:
        """Whether it runs such tasks at all."""
        return self.pool == pool and executor in self.executors

    def free(self, clock: float) -> int:
        """Its free slots at `clock` of the lease clock: none when it was not heard for a lease term."""
        return max(self.slots - self.held, 0) if self.heard + LEASE_TERM > clock else 0

    def age(self, now: datetime, clock: float) -> timedelta:
        """How long ago its beat was received: at most what passed on the lease clock, which no step of the database's
        clock moves, since a run may start for that much longer."""
        passed = timedelta(seconds=max(clock - self.heard, 0.0))
        return min(max(now - self.received_at, timedelta(0)), passed)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """`grants`: who gets which task, in order. `waits`: why each of the others has to wait."""

    grants: Sequence[tuple[Waiting, Grant]]
    waits: Sequence[tuple[Waiting, WhyNot]]


def queue_key(queued_at: datetime, priority: int) -> datetime:
    """The place of a task in the queue: when it came, put back in time by its priority."""
    return queued_at - priority * AGEING_STEP


def moved(was: int, priority: int) -> timedelta:
    """How far a change of priority moves the key of a task in the queue."""
    return (was - priority) * AGEING_STEP


def dispatch(waiting: Sequence[Waiting], hosts: Sequence[Host], now: datetime, clock: float) -> Dispatch:
    """Give queued tasks, the least first, to free slots: each to the worker with the least of its slots in use.

    Among equally used workers, to the one whose last grant is the longest ago, so that equal workers get equal shares.
    `clock`: the lease clock.
    """
    present = {host.worker_id: host for host in hosts}
    grants: list[tuple[Waiting, Grant]] = []
    waits: list[tuple[Waiting, WhyNot]] = []
    closed: dict[tuple[str, str], WhyNot] = {}
    for task in sorted(waiting):
        kind = (task.pool, task.executor)
        if kind not in closed and (host := _least_used(present.values(), kind, clock)):
            present[host.worker_id] = replace(host, held=host.held + 1, granted_at=_nth(now, len(grants)))
            grants.append((task, Grant(host.worker_id, host.generation, host.beat, host.age(now, clock))))
        else:
            waits.append((task, closed.setdefault(kind, _why_not(hosts, kind, clock))))
    return Dispatch(grants, waits)


def room(hosts: Sequence[Host], clock: float) -> dict[tuple[str, str], int]:
    """Free slots for each (pool, executor). A slot that serves several executors counts for each."""
    free: dict[tuple[str, str], int] = {}
    for host in hosts:
        if slots := host.free(clock):
            for executor in host.executors:
                kind = (host.pool, executor)
                free[kind] = free.get(kind, 0) + slots
    return free


def last_grants(given: Dispatch, now: datetime) -> dict[str, datetime]:
    """When each worker that was given a task here was given its last one."""
    return {grant.worker_id: _nth(now, n) for n, (_, grant) in enumerate(given.grants)}


def _nth(now: datetime, n: int) -> datetime:
    return now + n * timedelta(microseconds=1)


def _least_used(hosts: Iterable[Host], kind: tuple[str, str], clock: float) -> Host | None:
    return min(
        (host for host in hosts if host.free(clock) and host.serves(*kind)),
        key=lambda host: (host.held / host.slots, host.granted_at, host.worker_id),
        default=None,
    )


def _why_not(hosts: Sequence[Host], kind: tuple[str, str], clock: float) -> WhyNot:
    serving = [host for host in hosts if host.serves(*kind)]
    if not serving:
        return "no-worker"
    return "no-slot" if any(host.heard + LEASE_TERM > clock for host in serving) else "worker-silent"
