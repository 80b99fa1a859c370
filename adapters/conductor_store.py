"""The conductor's rows on PostgreSQL."""

import json
from collections.abc import Iterable, Mapping, Sequence, Sized
from functools import cache
from typing import Any, LiteralString
from uuid import UUID

from adapters import conductor_sql as sql
from adapters import schedule_sql, spreading_sql
from adapters.conductor_load import read_hosts, read_load
from adapters.ending_sql import END_TASKS
from adapters.event_log import BY_INDEXES, by_stream
from adapters.pipeline import Answer, Pipeline
from adapters.seat import PgTurn
from domain.caching import Hit
from domain.crowding import Member
from domain.dependencies import Standing
from domain.dispatching import Waiting, allowances
from domain.events import ENDS, LimitChanged
from domain.lanes import Lane, lane_from
from domain.lease_clock import LEASE_TERM, LeaseClock
from domain.ports.conducting import (
    CANCELS_IN_TURN,
    Agenda,
    Complete,
    Dealt,
    Expired,
    Notes,
    Planned,
    ScheduleNotes,
    Settled,
    Silent,
    Survey,
    Timer,
)
from domain.ports.spreading import Spreading, SpreadOn
from domain.recorded import Recorded
from domain.timetable import MOST_OPEN

FEW = 200
FEW_QUEUED = 50
"""New in the queue: their events are read before it is known whether they can start."""


class ConductorPgTurn(PgTurn):
    """A round of the conductor: the rows and the log in one transaction."""

    SETTINGS = BY_INDEXES

    def __init__(self, pipeline: Pipeline, name: str, begun: Answer) -> None:
        super().__init__(pipeline, name, begun)
        self._just_queued: Sequence[UUID] = ()
        self._ahead: Mapping[UUID, list[Recorded]] = {}

    async def note(self, notes: Notes) -> None:
        """Bring the rows up to the page."""
        for stream, worker in notes.workers:
            shape = (worker.pool, worker.slots, list(worker.executors), json.dumps(worker.labels))
            self._do(sql.ADD_WORKERS, worker.worker_id, stream, worker.generation, *shape)
        if notes.draining:
            self._do(sql.SET_DRAINING, list(notes.draining), list(notes.draining.values()))
        if notes.members:
            self._do(sql.ADD_MEMBERS, *_columns(notes.members), list(notes.fail_fast), list(notes.opened))
        if notes.spread:
            self._do(spreading_sql.ADD, list(notes.spread), list(notes.spread.values()))
        if notes.needs:
            needs = [(need.downstream, need.number, need.at_least, need.size) for need in notes.needs]
            self._do(sql.ADD_NEEDS, *_columns(needs))
        if notes.edges:
            edges = [(one.downstream, one.need, one.upstream, one.name, " ".join(one.met_by)) for one in notes.edges]
            self._do(sql.ADD_EDGES, *_columns(edges))
        self._set_timers(notes.timers)
        self._add_lanes({*(one.lane for one in notes.queued), *notes.lanes})
        if notes.queued:
            rows = [(one.task, one.lane.id, one.lane.crowd, one.key, one.position) for one in notes.queued]
            self._do(sql.ADD_QUEUED, *_columns(rows))
            self._just_queued = [one.task for one in notes.queued] if len(notes.queued) <= FEW_QUEUED else ()
        if notes.limits:
            self._set_limits(notes.limits)
        if notes.moved:
            self._do(sql.MOVE_IN_QUEUE, list(notes.moved), list(notes.moved.values()))
        if notes.left:
            self._do(sql.LEAVE_QUEUE, list(notes.left))
        self._note_schedules(notes.schedules)
        before = await self._all(sql.ENDED_BEFORE, list(notes.looked_up), list(ENDS)) if notes.looked_up else ()
        if ended := {**{task: topic.split(".")[1] for task, topic in before}, **notes.ended}:
            self._do(END_TASKS, list(ended), list(ended.values()))
        if notes.entries or notes.looks:
            self._note_results(notes)
        if notes.closed:
            self._do(sql.CLOSE, list(notes.closed))
        if notes.cancelled:
            self._do(sql.CANCEL_MEMBERS, list(notes.cancelled))

    def _note_results(self, notes: Notes) -> None:
        entries = _columns([(one.key, one.task, one.ended, one.until) for one in notes.entries], 4)
        looks = _columns([(one.task, one.key, one.ttl, one.at) for one in notes.looks], 4)
        if notes.entries:
            self._do(sql.KEEP, *entries)
        self._do(sql.FIND, *entries[:2], looks[0], *looks)
        if notes.looks:
            self._do(sql.LOOK_FOR, *looks[:2])

    def _note_schedules(self, notes: ScheduleNotes) -> None:
        if notes.gone:
            self._do(schedule_sql.FORGET, list(notes.gone))
        changes: tuple[tuple[LiteralString, Mapping[UUID, object]], ...] = (
            (schedule_sql.LOOK_AT, notes.looks),
            (schedule_sql.PASS, notes.passed),
            (schedule_sql.OPEN_TASKS, notes.opened),
        )
        for query, rows in changes:
            if rows:
                self._do(query, list(rows), list(rows.values()))

    def _set_timers(self, timers: Sequence[Timer]) -> None:
        if timers:
            rows = [(timer.task, timer.kind, timer.fence, timer.due) for timer in timers]
            self._do(sql.ADD_TIMERS, *_columns(rows))

    def _add_lanes(self, lanes: Iterable[Lane]) -> None:
        if rows := sorted((lane.id, lane.crowd, json.dumps(lane.facts())) for lane in lanes):
            self._do(sql.ADD_LANES, *_columns(rows))

    def _set_limits(self, limits: Iterable[LimitChanged]) -> None:
        kept = [one for one in limits if one.max_running is not None or one.rate is not None]
        rates = [(one.rate.starts, one.rate.per) if one.rate else (None, None) for one in kept]
        rows = [(one.scope, one.max_running, *rate) for one, rate in zip(kept, rates, strict=True)]
        self._do(sql.SET_LIMITS, *_columns(rows, 4))
        self._do(sql.DROP_LIMITS, [one.scope for one in limits if one not in kept])

    async def survey(self, limit: int, grants: int) -> Survey:
        """What is to be decided now, the oldest first, at most `limit` of each kind; the lease clock; the workers; at
        most `grants` waiting tasks of a lane."""
        send, fetch = self.pipeline.send, self.pipeline.fetch
        agenda, standing, lanes = send(_agenda_of(limit)), send(sql.STANDING), send(sql.LANES)
        quotas, crowd = send(sql.QUOTAS), send(sql.CROWD)
        ahead = send(sql.LOAD_AHEAD, (list(self._just_queued), limit))
        found = await fetch(standing)
        *seconds, next_due = found[0][:7]
        clock, hosts = LeaseClock(*seconds), read_hosts(found)
        load, queued, next_start = read_load(await fetch(lanes), await fetch(quotas))
        self._ahead = by_stream(await fetch(ahead))
        most = allowances(queued.values(), hosts, load, clock.seconds)
        return Survey(
            _agenda(await fetch(agenda)),
            clock,
            min(filter(None, (next_due, next_start)), default=None),
            hosts,
            load,
            await self._waiting(queued, {lane: min(count, grants) for lane, count in most.items()}),
            [Member(task, lane_from(facts), held) for task, facts, held in await fetch(crowd)],
        )

    async def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        """As any turn has it. What nearly every round needs was read with the survey, and is not asked for again."""
        missing = [stream for stream in streams if stream not in self._ahead]
        return {one: self._ahead[one] for one in streams if one in self._ahead} | await super().load(missing)

    async def _waiting(self, lanes: Mapping[UUID, Lane], most: Mapping[Lane, int]) -> list[Waiting]:
        if not most:
            return []
        asked = [one for one, lane in lanes.items() if lane in most]
        rows = await self._all(sql.WAITING, asked, [most[lanes[one]] for one in asked])
        return [Waiting(key, position, task, lanes[lane]) for lane, key, position, task in rows]

    async def set_clock(self, clock: LeaseClock) -> None:
        """Store all but the answer, which the intake of beats writes. Comes before `expired` in a turn."""
        self._do(sql.SET_CLOCK, clock.seconds, clock.advanced_at, clock.probe, clock.sent_at)

    async def expired(self, clock: float, limit: int) -> Sequence[Expired]:
        """Leases over at `clock` that no beat is renewing at this moment: locked, by run id."""
        return [Expired(*row) for row in await self._all(sql.EXPIRED, clock, limit)]

    async def silent(self, clock: float, limit: int) -> Sequence[Silent]:
        """Workers not yet lost that have neither registered nor beaten for a lease term."""
        return [Silent(*row) for row in await self._all(sql.SILENT, LEASE_TERM, clock, limit)]

    async def deal(self, dealt: Dealt) -> None:
        """Take away the rows that are dealt with, store the new leases."""
        if not dealt.grants_alone:
            self._do(
                sql.DEAL,
                list(dealt.settled),
                list(dealt.settled),
                list(dealt.settled),
                list(dealt.cancelled),
                list(dealt.complete),
                list(dealt.complete),
                list(dealt.failing),
                [timer.task for timer in dealt.timed],
                [timer.kind for timer in dealt.timed],
                list(dealt.closed),
                [worker_id for worker_id, _ in dealt.lost],
                [generation for _, generation in dealt.lost],
            )
        if dealt.reused:
            self._do(sql.REUSED, list(dealt.reused))
        if dealt.missed:
            self._do(sql.MISSED, list(dealt.missed))
        self._set_timers(dealt.again)
        self._spread(dealt.spread)
        if dealt.rested:
            rests = [(one.schedule, one.done_to, one.due) for one in dealt.rested]
            self._do(schedule_sql.REST, *_columns(rests))
        if dealt.opened:
            self._do(schedule_sql.OPEN_TASKS, list(dealt.opened), list(dealt.opened.values()))
        if dealt.unqueued:
            if not dealt.grants_alone:
                self._add_lanes({one.lane for one in dealt.leases})
            rows = [
                (one.run_id, one.fence, one.task, one.worker_id, one.generation, one.until, one.lane.id)
                for one in dealt.leases
            ]
            started = [scope for scope, _ in dealt.starts], [at for _, at in dealt.starts]
            granted = list(dealt.granted), list(dealt.granted.values())
            self._do(sql.LEASE, list(dealt.unqueued), *started, *granted, *_columns(rows, 7))
            if dealt.starts:
                self._do(sql.FORGET_STARTS)

    def _spread(self, spread: Sequence[SpreadOn]) -> None:
        if on := [(one.task, one.next) for one in spread if not one.over]:
            self._do(spreading_sql.ON, *_columns(on))
        if over := [one.task for one in spread if one.over]:
            self._do(spreading_sql.OVER, over)
            self._do(spreading_sql.FORGET_MEMBERS, [stream for one in spread for stream in one.never])
            self._do(sql.CANCEL_MEMBERS, [one.task for one in spread if one.recalled])
            self._do(sql.CLOSE, over)

    async def make_partitions(self) -> None:
        """Have the log's partitions of the coming months. In a turn of its own: it locks the whole log for a moment."""
        self._do("SELECT make_event_partitions()")
        self._do(sql.CLEAN_UP)

    def _do(self, query: LiteralString, *values: object) -> None:
        self.pipeline.send(query, values, _few(values))

    async def _all(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        return await self.pipeline.rows(query, values, _few(values))


def _few(values: Sequence[object]) -> bool:
    """Whether a plan that was made long ago will do; for more rows the planner looks at the tables as they are now."""
    return all(len(value) <= FEW for value in values if isinstance(value, Sized))


@cache
def _agenda_of(limit: int) -> bytes:
    return sql.AGENDA.format(limit=limit, open=MOST_OPEN, in_turn=CANCELS_IN_TURN).encode()


def _agenda(rows: Sequence[tuple[Any, ...]]) -> Agenda:
    cancels: list[tuple[UUID, UUID]] = []
    settled: list[Settled] = []
    complete: list[Complete] = []
    failing: list[tuple[UUID, UUID]] = []
    due: list[Timer] = []
    planned: list[Planned] = []
    hits: list[Hit] = []
    spreading: list[Spreading] = []
    for kind, one, other, names, counts, met, still_open, at, fence in rows:
        match kind:
            case "cancel":
                cancels.append((one, other))
            case "settled":
                standings = zip(counts or (), met or (), still_open or (), names or (), strict=True)
                settled.append(Settled(one, other, [Standing(*standing) for standing in standings]))
            case "failing":
                failing.append((one, other))
            case "complete":
                complete.append(Complete(one, other, dict(zip(names or (), counts or (), strict=True))))
            case "hit":
                hits.append(Hit(one, other, counts[0]))
            case "spreading":
                spreading.append(Spreading(one, *counts))
            case "planned":
                planned.append(Planned(one, at, [UUID(task) for task in names]))
            case _:
                due.append(Timer(one, names[0], fence, at))
    return Agenda(cancels, settled, complete, failing, due, planned, hits, spreading)


def _columns(rows: Sequence[tuple[object, ...]], width: int = 0) -> list[list[object]]:
    """One list a column; `width` empty ones when there are no rows."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
