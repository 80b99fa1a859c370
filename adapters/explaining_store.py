"""`domain.ports.explaining.Explaining` on PostgreSQL: a few statements of one transaction that only reads."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from adapters import conductor_sql as sql
from adapters.conductor_load import read_hosts, read_load
from adapters.event_log import LOAD, by_stream
from adapters.explaining import known_at
from adapters.pipeline import Connection
from adapters.reading import Reader
from domain.dispatching import Load, Waiting, allowances, obstacles
from domain.events import ENDS
from domain.explaining import Known
from domain.hosts import Host
from domain.lanes import Lane, lane_from
from domain.lease_clock import LEASE_TERM
from domain.ports.querying import Allowed
from domain.reasons import Hold, Holder
from domain.recorded import Recorded
from domain.why_queued import NAMED, SLOTS, Place
from domain.why_spread import Children

GRANTS = 400
_OWN = """
SELECT q.key, q.position, l.facts, (
  SELECT count(*) FROM conductor_queue o WHERE o.lane = q.lane AND (o.key, o.position) < (q.key, q.position))
FROM conductor_queue q JOIN conductor_lanes l USING (lane) WHERE q.task = %b
"""
_HOLDERS = """
SELECT s.task, coalesce(t.task_id, s.task::text) FROM leases s LEFT JOIN tasks t ON t.id = s.task
WHERE s.lane = ANY(%b::uuid[]) AND (%b::text[] IS NULL OR s.worker_id = ANY(%b::text[])) ORDER BY s.run_id LIMIT %b
"""
_HOLD = """
SELECT l.accepted, l.until - c.seconds, coalesce(b.heard + %b > c.seconds, false), (
  SELECT r ->> 'state' FROM jsonb_array_elements(b.runs) AS r WHERE r ->> 'run_id' = l.run_id::text LIMIT 1)
FROM leases l CROSS JOIN lease_clock c LEFT JOIN worker_beats b USING (worker_id) WHERE l.run_id = %b
"""
_CHILDREN = """
SELECT m.ended, count(*), count(l.task), (SELECT s.next FROM conductor_spreads s WHERE s.task = %b)
FROM conductor_members m LEFT JOIN leases l ON l.task = m.task WHERE m.workflow = %b GROUP BY m.ended
"""


class PgExplaining:
    """Over the connections of a reader."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def known(self, id: UUID, allowed: Allowed) -> Known | None:
        """All of one moment; None when there is no such task. Of other namespaces no task is named."""
        return await self._reader.at_once(lambda connection: known_at(_Moment(connection), id, allowed))


class _Moment:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def now(self) -> datetime:
        moment: datetime = (await self._all("SELECT now()"))[0][0]
        return moment

    async def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        return by_stream(await self._all(LOAD, list(streams)))

    async def ends(self, streams: Sequence[UUID]) -> dict[UUID, str]:
        rows = await self._all(sql.ENDED_BEFORE, list(streams), list(ENDS))
        return {stream: topic.split(".")[1] for stream, topic in rows}

    async def place(self, task: UUID, allowed: Allowed) -> Place:
        rows = await self._all(_OWN, task)
        if not rows:
            return Place(None)
        key, position, facts, ahead = rows[0]
        own = Waiting(key, position, task, lane_from(facts))
        standing, lanes = await self._all(sql.STANDING), await self._all(sql.LANES)
        quotas = await self._all(sql.QUOTAS)
        clock, hosts = standing[0][0], read_hosts(standing)
        load, queued, _ = read_load(lanes, quotas)
        most = allowances(queued.values(), hosts, load, clock)
        return Place(
            own,
            ahead,
            hosts,
            load,
            await self._waiting({lane: min(count, GRANTS) for lane, count in most.items()}),
            await self._holders(own.lane, (hosts, load, clock), allowed),
            {scope: again for scope, _, starts, _, started, again in quotas if starts and started >= starts},
            clock,
        )

    async def _waiting(self, most: Mapping[Lane, int]) -> list[Waiting]:
        lanes = {lane.id: lane for lane in most}
        rows = await self._all(sql.WAITING, list(lanes), list(most.values())) if lanes else []
        return [Waiting(key, position, task, lanes[lane]) for lane, key, position, task in rows]

    async def _holders(
        self, lane: Lane, field: tuple[Sequence[Host], Load, float], allowed: Allowed
    ) -> dict[str, list[Holder]]:
        hosts, load, clock = field
        near = [other for other in load.held if allowed is None or other.namespace in allowed]
        found: dict[str, list[Holder]] = {}
        for why in obstacles(lane, hosts, load, clock):
            if why.code == "limit" and why.scope is not None:
                found[why.scope] = await self._few([other for other in near if why.scope in other.scopes], None)
            elif why.code == "no-slot":
                taking = [host.worker_id for host in hosts if host.takes(lane.needs)]
                found[SLOTS] = await self._few(near, taking)
        return found

    async def _few(self, lanes: Sequence[Lane], workers: Sequence[str] | None) -> list[Holder]:
        rows = await self._all(_HOLDERS, [lane.id for lane in lanes], workers, workers, NAMED)
        return [Holder(*row) for row in rows]

    async def children(self, task: UUID) -> Children:
        rows = await self._all(_CHILDREN, task, task)
        there = sum(count for _, count, _, _ in rows)
        submitted = next((following for *_, following in rows if following is not None), there)
        ends = {ended: count for ended, count, _, _ in rows if ended is not None}
        return Children(submitted, sum(held for _, _, held, _ in rows), ends)

    async def hold(self, run_id: UUID) -> Hold | None:
        rows = await self._all(_HOLD, LEASE_TERM, run_id)
        return Hold(*rows[0]) if rows else None

    async def _all(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        return await (await self._connection.cursor(binary=True).execute(query, values)).fetchall()
