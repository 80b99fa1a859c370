"""The conductor's turn in memory."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from adapters.in_memory.conductor_rows import LastBeat, Rows, WorkerRow, in_turn
from adapters.in_memory.event_log import MemoryLog, MemoryTurn
from adapters.in_memory.result_rows import clean_up, hits, note_results, rest_hits
from adapters.in_memory.schedule_rows import note_schedules, planned, rest_schedules
from domain.crowding import Member
from domain.dependencies import Standing, settle
from domain.dispatching import Load, Waiting, allowances
from domain.events import ENDS, LimitChanged
from domain.hosts import Host
from domain.lease_clock import LEASE_TERM, LeaseClock
from domain.limit import Quota
from domain.ports.conducting import (
    Agenda,
    Complete,
    Dealt,
    Edge,
    Expired,
    Notes,
    Settled,
    Silent,
    Survey,
)
from domain.ports.spreading import Spreading, SpreadOn
from domain.workflow import FAILURES

K = TypeVar("K")
V = TypeVar("V")


class ConductorMemoryTurn(MemoryTurn):
    """A round of the conductor. Changes are seen inside it at once and kept if it commits."""

    def __init__(self, rows: Rows, log: MemoryLog, name: str, now: datetime) -> None:
        super().__init__(log, name, now)
        self._rows = rows.copy()
        self.effects.append(lambda: rows.become(self._rows))

    async def note(self, notes: Notes) -> None:
        """Bring the rows up to the page."""
        rows = self._rows
        for stream, registered in notes.workers:
            before = rows.workers.get(registered.worker_id)
            row = WorkerRow(stream, registered, rows.clock.seconds, draining=before is not None and before.draining)
            rows.workers[registered.worker_id] = row
        for worker_id, draining in notes.draining.items():
            rows.workers[worker_id] = replace(rows.workers[worker_id], draining=draining)
        rows.members |= {task: (workflow, None) for workflow, task in notes.members}
        rows.fail_fast |= dict.fromkeys(notes.fail_fast)
        rows.open |= dict.fromkeys(notes.opened)
        _drop(rows.open, notes.closed)
        rows.spreads = {**{task: (0, children) for task, children in notes.spread.items()}, **rows.spreads}
        for edge in notes.edges:
            rows.edges.setdefault((edge.downstream, edge.need, edge.upstream), (edge, None))
        rows.needs |= {(need.downstream, need.number): need for need in notes.needs}
        rows.timers |= {(timer.task, timer.kind): timer for timer in notes.timers}
        rows.queue |= {task.task: task for task in notes.queued}
        for task, by in notes.moved.items():
            if task in rows.queue:
                rows.queue[task] = replace(rows.queue[task], key=rows.queue[task].key + by)
        rows.limits |= {one.scope: one for one in notes.limits}
        _drop(rows.queue, notes.left)
        note_schedules(rows, notes.schedules)
        self._end({**self._ended_before(notes.looked_up), **notes.ended})
        note_results(rows, notes)
        self._cancel_members(notes.cancelled)

    def _cancel_members(self, cancelled: Sequence[UUID]) -> None:
        rows = self._rows
        now = set(cancelled) - rows.spreads.keys()
        rows.cancels |= {
            task: workflow for task, (workflow, end) in rows.members.items() if workflow in now and end is None
        }

    def _ended_before(self, streams: Sequence[UUID]) -> dict[UUID, str]:
        return {
            stream: event.type.split(".")[1]
            for stream, events in self.log.load(streams).items()
            for event in events
            if event.type in ENDS
        }

    def _end(self, ended: Mapping[UUID, str]) -> None:
        rows = self._rows
        touched: dict[UUID, list[Edge]] = {}
        for key, (edge, end) in rows.edges.items():
            if edge.upstream in ended and end is None:
                rows.edges[key] = (edge, ended[edge.upstream])
                touched.setdefault(edge.downstream, []).append(edge)
        for task, end in ended.items():
            self._leave(task)
            if task in rows.members:
                rows.members[task] = (rows.members[task][0], end)
                rows.last[rows.members[task][0]] = task
        for task in sorted(task for task, end in ended.items() if end in FAILURES and task in rows.members):
            if rows.fail_fast.get(workflow := rows.members[task][0], task) is None:
                rows.fail_fast[workflow] = task
        for downstream, edges in touched.items():
            standings = self._standings(downstream)
            if downstream not in rows.settled and standings and settle(standings) is not None:
                lost = next((number for number, one in enumerate(standings) if one.lost), None)
                rows.settled[downstream] = _cause(edges, ended, lost)

    def _leave(self, task: UUID) -> None:
        rows = self._rows
        for table in (rows.queue, rows.settled, rows.cancels, rows.schedule_tasks):
            table.pop(task, None)
        _drop(rows.timers, [key for key in rows.timers if key[0] == task])
        self._need_nothing(task)

    def _need_nothing(self, task: UUID) -> None:
        rows = self._rows
        _drop(rows.needs, [key for key in rows.needs if key[0] == task])
        _drop(rows.edges, [key for key in rows.edges if key[0] == task])

    def _standings(self, downstream: UUID) -> list[Standing]:
        found: list[Standing] = []
        for need in (need for need in self._rows.needs.values() if need.downstream == downstream):
            own = [row for key, row in self._rows.edges.items() if key[:2] == (downstream, need.number)]
            ended = [(edge, end) for edge, end in own if end is not None]
            unmet = [edge.name for edge, end in ended if end not in edge.met_by]
            found.append(
                Standing(need.at_least, len(ended) - len(unmet), len(own) - len(ended), min(unmet, default=None))
            )
        return found

    async def survey(self, limit: int, grants: int) -> Survey:
        """What is to be decided now; the lease clock; the workers; the waiting tasks that there is room for."""
        rows, hosts = self._rows, self._hosts()
        load, queue = self._load(), sorted(rows.queue.values())
        first: list[Waiting] = []
        for lane, most in allowances({task.lane for task in queue}, hosts, load, rows.clock.seconds).items():
            first += [task for task in queue if task.lane == lane][: min(most, grants)]
        looks = [due for _, due in rows.schedules.values() if due is not None]
        due = min([*(timer.due for timer in rows.timers.values()), *looks, *self._next_starts(load)], default=None)
        return Survey(self._agenda(limit), rows.clock, due, hosts, load, first, self._crowd())

    def _load(self) -> Load:
        rows, quotas = self._rows, dict[str, Quota]()
        for scope, limit in rows.limits.items():
            started = len(self._counted(limit))
            quotas[scope] = Quota(limit.max_running, limit.rate, started)
        return Load(Counter(lease.lane for lease, _ in rows.leases.values()), quotas)

    def _counted(self, limit: LimitChanged) -> list[datetime]:
        """When those were given a slot that the rate counts now."""
        since = self._now - limit.rate.per if limit.rate else self._now
        return [at for scope, at in self._rows.starts if scope == limit.scope and at > since]

    def _next_starts(self, load: Load) -> list[datetime]:
        rows = self._rows
        waited_for = {scope for task in rows.queue.values() for scope in task.lane.scopes}
        return [
            min(self._counted(rows.limits[scope])) + quota.rate.per
            for scope, quota in load.quotas.items()
            if quota.rate and quota.started >= quota.rate.starts and scope in waited_for
        ]

    def _crowd(self) -> list[Member]:
        rows = self._rows
        leased = {lease.task for lease, _ in rows.leases.values()}
        waiting = [task for task in rows.queue.values() if task.lane.crowd and task.task not in leased]
        queued = [Member(task.task, task.lane, held=False) for task in waiting]
        crowds = {member.lane.crowd for member in queued}
        held = [lease for lease, _ in rows.leases.values() if lease.lane.crowd in crowds]
        return [*queued, *(Member(lease.task, lease.lane, held=True) for lease in held if lease.lane.crowd)]

    def _agenda(self, limit: int) -> Agenda:
        rows = self._rows
        open_workflows = {workflow for workflow, end in rows.members.values() if end is None} | rows.open.keys()
        due = sorted(timer.due for timer in rows.timers.values() if timer.due <= self._now)[:limit]
        return Agenda(
            cancels=in_turn(rows.cancels)[:limit],
            settled=[Settled(task, cause, self._standings(task)) for task, cause in rows.settled.items()][:limit],
            complete=[self._complete(one) for one in rows.last if one not in open_workflows][:limit],
            failing=[(one, task) for one, task in rows.fail_fast.items() if task and one in open_workflows][:limit],
            due=[timer for timer in rows.timers.values() if due and timer.due <= due[-1]][:limit],
            planned=planned(rows, self._now, limit),
            hits=hits(rows, limit),
            spreading=sorted(
                (Spreading(task, *row) for task, row in rows.spreads.items()), key=lambda one: (one.next, one.task)
            )[:limit],
        )

    def _complete(self, workflow: UUID) -> Complete:
        ends = [end for one, end in self._rows.members.values() if one == workflow and end]
        return Complete(workflow, self._rows.last[workflow], Counter(ends))

    async def set_clock(self, clock: LeaseClock) -> None:
        """Store all but the answer."""
        self._rows.clock = clock

    async def expired(self, clock: float, limit: int) -> Sequence[Expired]:
        """Leases over at `clock`, by run id."""
        over = [(lease, accepted) for lease, accepted in self._rows.leases.values() if lease.until <= clock]
        by_run = sorted(over, key=lambda row: row[0].run_id)[:limit]
        return [Expired(lease.run_id, lease.task, lease.fence, accepted) for lease, accepted in by_run]

    async def silent(self, clock: float, limit: int) -> Sequence[Silent]:
        """Workers not yet lost that have neither registered nor beaten for a lease term."""
        found: list[Silent] = []
        for worker_id, row in self._rows.workers.items():
            beat = self._beat(row)
            heard = max(row.since, beat.heard if beat else row.since)
            if not row.lost and heard + LEASE_TERM <= clock:
                runs = sorted(run for run, (lease, _) in self._rows.leases.items() if lease.worker_id == worker_id)
                found.append(Silent(row.stream, worker_id, row.registered.generation, runs))
        return found[:limit]

    def _hosts(self) -> Sequence[Host]:
        held = Counter(lease.worker_id for lease, _ in self._rows.leases.values())
        return [
            Host(
                worker_id,
                row.registered.generation,
                row.registered.pool,
                frozenset(row.registered.executors),
                row.registered.slots,
                held[worker_id],
                beat.beat,
                beat.received_at,
                beat.heard,
                row.granted_at,
                row.registered.labels,
                row.draining,
            )
            for worker_id, row in self._rows.workers.items()
            if not row.lost and (beat := self._beat(row))
        ]

    def _beat(self, row: WorkerRow) -> LastBeat | None:
        beat = self._rows.beats.get(row.registered.worker_id)
        return beat if beat and beat.generation == row.registered.generation else None

    async def deal(self, dealt: Dealt) -> None:
        """Take away the rows that are dealt with, store the new leases."""
        rows = self._rows
        for task in dealt.settled:
            rows.settled.pop(task, None)
            self._need_nothing(task)
        _drop(rows.cancels, dealt.cancelled)
        for workflow in dealt.complete:
            rows.last.pop(workflow, None)
            rows.fail_fast.pop(workflow, None)
            _drop(rows.members, [task for task, (one, _) in rows.members.items() if one == workflow])
        _drop(rows.fail_fast, dealt.failing)
        _drop(rows.timers, [(timer.task, timer.kind) for timer in dealt.timed])
        rows.timers |= {(timer.task, timer.kind): timer for timer in dealt.again}
        self._spread(dealt.spread)
        _drop(rows.leases, dealt.closed)
        rest_schedules(rows, dealt)
        rest_hits(rows, dealt)
        _drop(rows.queue, dealt.unqueued)
        rows.starts += dealt.starts
        rows.leases |= {lease.run_id: (lease, False) for lease in dealt.leases}
        for worker_id, generation in dealt.lost:
            if rows.workers[worker_id].registered.generation == generation:
                rows.workers[worker_id] = replace(rows.workers[worker_id], lost=True)
        for worker_id, at in dealt.granted.items():
            rows.workers[worker_id] = replace(rows.workers[worker_id], granted_at=at)

    def _spread(self, spread: Sequence[SpreadOn]) -> None:
        rows = self._rows
        for one in spread:
            rows.spreads[one.task] = (one.next, rows.spreads[one.task][1])
            if one.over:
                del rows.spreads[one.task]
                _drop(rows.members, one.never)
                self._cancel_members([one.task] if one.recalled else [])
                rows.open.pop(one.task, None)
                rows.last.setdefault(one.task, None)

    async def make_partitions(self) -> None:
        """Memory has none; what is kept too long is forgotten here as there."""
        clean_up(self._rows, self._now)


def _cause(edges: Sequence[Edge], ended: Mapping[UUID, str], lost: int | None) -> UUID:
    """Of ends just noted: of the need `lost` one that does not meet it, else one that met its need."""
    eligible = [edge for edge in edges if lost is None or edge.need == lost]
    return min(((ended[edge.upstream] in edge.met_by) is (lost is not None), edge.upstream) for edge in eligible)[1]


def _drop(table: dict[K, V], keys: Sequence[K]) -> None:
    for key in keys:
        table.pop(key, None)
