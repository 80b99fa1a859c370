"""What is known of a task, in memory."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from adapters.explaining import known_at
from adapters.in_memory.conducting import ConductorMemoryTurn
from adapters.in_memory.conductor_rows import Rows
from adapters.in_memory.event_log import MemoryLog
from domain.dispatching import Load, obstacles
from domain.events import ENDS
from domain.explaining import Known
from domain.hosts import Host
from domain.lanes import Lane
from domain.lease_clock import LEASE_TERM
from domain.ports.conducting import NewLease
from domain.ports.querying import Allowed
from domain.reasons import Hold, Holder
from domain.recorded import Recorded
from domain.why_queued import NAMED, SLOTS, Place
from domain.why_spread import Children

GRANTS = 400


@dataclass(frozen=True, slots=True)
class MemoryExplaining:
    """`rows`: what the conductor has; left out: there is none."""

    log: MemoryLog
    rows: Callable[[], Rows] = field(default=Rows)

    async def known(self, id: UUID, allowed: Allowed) -> Known | None:
        """All of one moment; None when there is no such task. Of other namespaces no task is named."""
        return await known_at(_Moment(self.log, self.rows()), id, allowed)


@dataclass(frozen=True, slots=True)
class _Moment:
    log: MemoryLog
    rows: Rows

    async def now(self) -> datetime:
        return self.log.clock.now()

    async def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        return self.log.load(streams)

    async def ends(self, streams: Sequence[UUID]) -> dict[UUID, str]:
        loaded = self.log.load(streams)
        return {one: row.type.split(".")[1] for one, rows in loaded.items() for row in rows if row.type in ENDS}

    async def place(self, task: UUID, allowed: Allowed) -> Place:
        own = self.rows.queue.get(task)
        if own is None:
            return Place(None)
        turn = ConductorMemoryTurn(self.rows, self.log, "explain", self.log.clock.now())
        survey = await turn.survey(0, GRANTS)
        return Place(
            own,
            sum(other.lane == own.lane and other < own for other in self.rows.queue.values()),
            survey.hosts,
            survey.load,
            survey.waiting,
            self._holders(own.lane, survey.hosts, survey.load, allowed),
            self._next_starts(survey.load),
            self.rows.clock.seconds,
        )

    async def children(self, task: UUID) -> Children:
        ends = {one: end for one, (whole, end) in self.rows.members.items() if whole == task}
        held = {lease.task for lease, _ in self.rows.leases.values()} & ends.keys()
        submitted, _ = self.rows.spreads.get(task, (len(ends), 0))
        return Children(submitted, len(held), Counter(filter(None, ends.values())))

    def _holders(self, lane: Lane, hosts: Sequence[Host], load: Load, allowed: Allowed) -> dict[str, list[Holder]]:
        found: dict[str, list[Holder]] = {}
        leases = sorted((lease for lease, _ in self.rows.leases.values()), key=lambda lease: lease.run_id)
        near = [one for one in leases if allowed is None or one.lane.namespace in allowed]
        taking = {host.worker_id for host in hosts if host.takes(lane.needs)}
        for why in obstacles(lane, hosts, load, self.rows.clock.seconds):
            if why.code == "limit" and why.scope:
                found[why.scope] = [self._holder(one) for one in near if why.scope in one.lane.scopes][:NAMED]
            elif why.code == "no-slot":
                found[SLOTS] = [self._holder(one) for one in near if one.worker_id in taking][:NAMED]
        return found

    def _holder(self, lease: NewLease) -> Holder:
        first = self.log.load([lease.task])[lease.task][0].event()
        return Holder(lease.task, getattr(first, "task_id", str(lease.task)))

    def _next_starts(self, load: Load) -> dict[str, datetime]:
        found: dict[str, datetime] = {}
        for scope, quota in load.quotas.items():
            if quota.rate and quota.started >= quota.rate.starts:
                since = self.log.clock.now() - quota.rate.per
                counted = [at for one, at in self.rows.starts if one == scope and at > since]
                found[scope] = min(counted) + quota.rate.per
        return found

    async def hold(self, run_id: UUID) -> Hold | None:
        if run_id not in self.rows.leases:
            return None
        lease, accepted = self.rows.leases[run_id]
        clock, beat = self.rows.clock.seconds, self.rows.beats.get(lease.worker_id)
        return Hold(accepted, lease.until - clock, beat is not None and beat.heard + LEASE_TERM > clock)
