"""Who runs what next, and why a task waits. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, TypeAlias
from uuid import UUID

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

    `heard`: a beat of this generation came within a lease term; `beat` is the last one, received at `received_at`.
    """

    worker_id: str
    generation: int
    pool: str
    executors: frozenset[str]
    slots: int
    held: int
    heard: bool
    beat: int
    received_at: datetime
    granted_at: datetime


@dataclass(frozen=True, slots=True)
class Dispatch:
    """`grants`: who gets which task, in order. `waits`: why each of the others has to wait."""

    grants: Sequence[tuple[Waiting, Grant]]
    waits: Sequence[tuple[Waiting, WhyNot]]


def queue_key(queued_at: datetime, priority: int) -> datetime:
    """The place of a task in the queue: when it came, put back in time by its priority."""
    return queued_at - priority * AGEING_STEP


def dispatch(waiting: Sequence[Waiting], hosts: Sequence[Host], now: datetime) -> Dispatch:
    """Give queued tasks, the least first, to free slots: each to the worker with the least of its slots in use.

    Among equally used workers, to the one whose last grant is the longest ago, so that equal workers get equal shares.
    """
    present = {host.worker_id: host for host in hosts}
    grants: list[tuple[Waiting, Grant]] = []
    waits: list[tuple[Waiting, WhyNot]] = []
    closed: dict[tuple[str, str], WhyNot] = {}
    for task in sorted(waiting):
        kind = (task.pool, task.executor)
        if kind not in closed and (host := _least_used(present, *kind)):
            present[host.worker_id] = replace(host, held=host.held + 1, granted_at=_nth(now, len(grants)))
            age = max(now - host.received_at, timedelta(0))
            grants.append((task, Grant(host.worker_id, host.generation, host.beat, age)))
        else:
            waits.append((task, closed.setdefault(kind, _why_not(hosts, *kind))))
    return Dispatch(grants, waits)


def room(hosts: Sequence[Host]) -> dict[tuple[str, str], int]:
    """Free slots for each (pool, executor). A slot that serves several executors counts for each."""
    free: dict[tuple[str, str], int] = {}
    for host in hosts:
        if host.heard and host.held < host.slots:
            for executor in host.executors:
                kind = (host.pool, executor)
                free[kind] = free.get(kind, 0) + host.slots - host.held
    return free


def last_grants(given: Dispatch, now: datetime) -> dict[str, datetime]:
    """When each worker that was given a task here was given its last one."""
    return {grant.worker_id: _nth(now, n) for n, (_, grant) in enumerate(given.grants)}


def _nth(now: datetime, n: int) -> datetime:
    return now + n * timedelta(microseconds=1)


def _least_used(hosts: dict[str, Host], pool: str, executor: str) -> Host | None:
    return min(
        (host for host in hosts.values() if host.heard and host.held < host.slots and _serves(host, pool, executor)),
        key=lambda host: (host.held / host.slots, host.granted_at, host.worker_id),
        default=None,
    )


def _serves(host: Host, pool: str, executor: str) -> bool:
    return host.pool == pool and executor in host.executors


def _why_not(hosts: Sequence[Host], pool: str, executor: str) -> WhyNot:
    serving = [host for host in hosts if _serves(host, pool, executor)]
    if not serving:
        return "no-worker"
    return "no-slot" if any(host.heard for host in serving) else "worker-silent"
