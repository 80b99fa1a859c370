"""The workers as the dispatcher sees them, and how those are found that could run something. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from domain.lanes import Needs
from domain.lease_clock import LEASE_TERM


@dataclass(frozen=True, slots=True)
class Host:
    """A worker as the dispatcher sees it. `held`: its open leases, counted. `granted_at`: its last grant.

    `beat` is the last of this generation, received at `received_at`, when the lease clock stood at `heard`. `draining`:
    it is given nothing.
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
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    draining: bool = False

    def serves(self, needs: Needs) -> bool:
        """Whether it could run such tasks."""
        return (
            self.pool == needs.pool
            and needs.executor in self.executors
            and needs.worker in (None, self.worker_id)
            and all(self.labels.get(name) == value for name, value in needs.labels)
        )

    def takes(self, needs: Needs) -> bool:
        """Whether it is given such tasks, when it has a free slot."""
        return not self.draining and self.serves(needs)

    def present(self, clock: float) -> bool:
        """Whether it was heard within a lease term, at `clock` of the lease clock."""
        return self.heard + LEASE_TERM > clock

    def free(self, clock: float) -> int:
        """Its free slots at `clock` of the lease clock: none when it was not heard for a lease term."""
        return max(self.slots - self.held, 0) if self.present(clock) else 0

    def age(self, now: datetime, clock: float) -> timedelta:
        """How long ago its beat was received: at most what passed on the lease clock, which no step of the database's
        clock moves, since a run may start for that much longer."""
        passed = timedelta(seconds=max(clock - self.heard, 0.0))
        return min(max(now - self.received_at, timedelta(0)), passed)


class Hosts:
    """Workers, found by what is rarest of what is needed: many lanes may each need a worker of their own. What nobody
    needs is not looked at: there may be 1,000 workers of 16 labels each, and few that ask for one."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = hosts
        self._pools: dict[str, list[Host]] = {}
        for host in hosts:
            self._pools.setdefault(host.pool, []).append(host)

    def serving(self, needs: Needs) -> list[Host]:
        """Those that could run such tasks."""
        return [host for host in self._among(needs) if host.serves(needs)]

    def _among(self, needs: Needs) -> Sequence[Host]:
        if needs.worker is not None:
            return self._workers.get(needs.worker, ())
        labelled = (self._labels.get((needs.pool, name, value), ()) for name, value in needs.labels)
        return min((self._pools.get(needs.pool, ()), *labelled), key=len)

    @cached_property
    def _workers(self) -> dict[str, list[Host]]:
        workers: dict[str, list[Host]] = {}
        for host in self._hosts:
            workers.setdefault(host.worker_id, []).append(host)
        return workers

    @cached_property
    def _labels(self) -> dict[tuple[str, str, str], list[Host]]:
        labels: dict[tuple[str, str, str], list[Host]] = {}
        for host in self._hosts:
            for name, value in host.labels.items():
                labels.setdefault((host.pool, name, value), []).append(host)
        return labels
