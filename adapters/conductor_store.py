"""The conductor's rows on PostgreSQL."""

from collections.abc import Mapping, Sequence, Sized
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncCursor

from adapters import conductor_sql as sql
from adapters.event_log import recorded
from adapters.seat import PgTurn
from domain.dependencies import Standing
from domain.dispatching import Host, Waiting
from domain.events import ENDS
from domain.lease_clock import LEASE_TERM, LeaseClock
from domain.ports.conducting import Agenda, Complete, Dealt, Expired, Notes, Settled, Silent, Survey, Timer
from domain.recorded import Recorded

FEW = 200


class ConductorPgTurn(PgTurn):
    """A round of the conductor: the rows and the log in one transaction."""

    async def note(self, notes: Notes) -> None:
        """Bring the rows up to the page."""
        for stream, worker in notes.workers:
            shape = (worker.pool, worker.slots, list(worker.executors))
            await self._do(sql.ADD_WORKERS, worker.worker_id, stream, worker.generation, *shape)
        if notes.members:
            await self._do(sql.ADD_MEMBERS, *_columns(notes.members), list(notes.fail_fast))
        if notes.needs:
            needs = [(need.downstream, need.number, need.at_least, need.size) for need in notes.needs]
            await self._do(sql.ADD_NEEDS, *_columns(needs))
        if notes.edges:
            edges = [(one.downstream, one.need, one.upstream, one.name, " ".join(one.met_by)) for one in notes.edges]
            await self._do(sql.ADD_EDGES, *_columns(edges))
        if notes.timers:
            timers = [(timer.task, timer.kind, timer.fence, timer.due) for timer in notes.timers]
            await self._do(sql.ADD_TIMERS, *_columns(timers))
        if notes.queued:
            rows = [(one.task, one.pool, one.executor, one.key, one.position) for one in notes.queued]
            await self._do(sql.ADD_QUEUED, *_columns(rows))
        if notes.moved:
            await self._do(sql.MOVE_IN_QUEUE, list(notes.moved), list(notes.moved.values()))
        if notes.left:
            await self._do(sql.LEAVE_QUEUE, list(notes.left))
        before = await self._all(sql.ENDED_BEFORE, list(notes.looked_up), list(ENDS)) if notes.looked_up else ()
        await self._end({**{task: topic.split(".")[1] for task, topic in before}, **notes.ended})
        if notes.cancelled:
            await self._do(sql.CANCEL_MEMBERS, list(notes.cancelled))

    async def _end(self, ended: Mapping[UUID, str]) -> None:
        if not ended:
            return
        touched = await self._all(sql.END_TASKS, list(ended), list(ended.values()))
        if edges := [row[1:] for row in touched if not row[0]]:
            await self._do(sql.SETTLE, *_columns(edges))
        if members := [row[1:] for row in touched if row[0]]:
            last = {workflow: task for workflow, task, *_ in members}
            failed = {workflow: task for workflow, task, _, has_failed in sorted(members, reverse=True) if has_failed}
            await self._do(sql.COMPLETE, list(last), list(last.values()), [failed.get(one) for one in last])

    async def survey(self, limit: int, grants: int) -> Survey:
        """What is to be decided now, the oldest first, at most `limit` of each kind; the lease clock; the workers; at
        most `grants` waiting tasks of a pool and executor."""
        agenda, standing, waiting = (
            await self._sent(sql.AGENDA, *[limit] * 5),
            await self._sent(sql.STANDING),
            await self._sent(sql.WAITING, grants, LEASE_TERM),
        )
        hosts = await standing.fetchall()
        *clock, next_due = hosts[0][:7]
        first, streams = _waiting(await waiting.fetchall())
        return Survey(_agenda(await agenda.fetchall()), LeaseClock(*clock), next_due, _hosts(hosts), first, streams)

    async def set_clock(self, clock: LeaseClock) -> None:
        """Store all but the answer, which the intake of beats writes. Comes before `expired` in a turn."""
        await self._do(sql.SET_CLOCK, clock.seconds, clock.advanced_at, clock.probe, clock.sent_at)

    async def expired(self, clock: float, limit: int) -> Sequence[Expired]:
        """Leases over at `clock` that no beat is renewing at this moment: locked, by run id."""
        return [Expired(*row) for row in await self._all(sql.EXPIRED, clock, limit)]

    async def silent(self, clock: float, limit: int) -> Sequence[Silent]:
        """Workers not yet lost that have neither registered nor beaten for a lease term."""
        return [Silent(*row) for row in await self._all(sql.SILENT, LEASE_TERM, clock, limit)]

    async def deal(self, dealt: Dealt) -> None:
        """Take away the rows that are dealt with, store the new leases."""
        if not dealt.grants_alone:
            await self._do(
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
        if dealt.unqueued:
            rows = [(one.run_id, one.fence, one.task, one.worker_id, one.generation, one.until) for one in dealt.leases]
            granted = list(dealt.granted), list(dealt.granted.values())
            await self._do(sql.LEASE, list(dealt.unqueued), *granted, *_columns(rows, 6))

    async def make_partitions(self) -> None:
        """Have the log's partitions of the coming months. In a turn of its own: it locks the whole log for a moment."""
        await self._do("SELECT make_event_partitions()")

    async def _do(self, query: LiteralString, *values: object) -> None:
        await self.connection.execute(query, values, prepare=_few(values))

    async def _all(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        return await (await self._sent(query, *values)).fetchall()

    async def _sent(self, query: LiteralString, *values: object) -> AsyncCursor[tuple[Any, ...]]:
        """In a pipeline the rows need not be there yet: several may be on their way at once."""
        return await self.connection.cursor(binary=True).execute(query, values, prepare=_few(values))


def _few(values: Sequence[object]) -> bool:
    """Whether a plan that was made for few rows will do; for more the planner looks at them, and at the tables."""
    return all(len(value) <= FEW for value in values if isinstance(value, Sized))


def _agenda(rows: Sequence[tuple[Any, ...]]) -> Agenda:
    cancels: list[tuple[UUID, UUID]] = []
    settled: list[Settled] = []
    complete: list[Complete] = []
    failing: list[tuple[UUID, UUID]] = []
    due: list[Timer] = []
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
                complete.append(Complete(one, other, dict(zip(names, counts, strict=True))))
            case _:
                due.append(Timer(one, names[0], fence, at))
    return Agenda(cancels, settled, complete, failing, due)


def _hosts(rows: Sequence[tuple[Any, ...]]) -> list[Host]:
    return [
        Host(worker_id, generation, pool, frozenset(executors), *rest)
        for worker_id, generation, pool, executors, *rest in (row[7:] for row in rows)
        if worker_id is not None
    ]


def _waiting(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Waiting], dict[UUID, list[Recorded]]]:
    first: list[Waiting] = []
    streams: dict[UUID, list[Recorded]] = {}
    for key, position, pool, executor, *event in rows:
        one = recorded(tuple(event))
        if one.stream not in streams:
            first.append(Waiting(key, position, one.stream, pool, executor))
        streams.setdefault(one.stream, []).append(one)
    return first, streams


def _columns(rows: Sequence[tuple[object, ...]], width: int = 0) -> list[list[object]]:
    """One list a column; `width` empty ones when there are no rows."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
