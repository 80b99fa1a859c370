"""Workers and limits, as they are read for the conductor and for those who ask what it does."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.dispatching import Load
from domain.hosts import Host
from domain.lanes import Lane, lane_from
from domain.limit import Quota
from domain.placing import Rate


def read_hosts(rows: Sequence[tuple[Any, ...]]) -> list[Host]:
    """The workers in what STANDING answers."""
    return [
        Host(worker_id, generation, pool, frozenset(executors), *rest)
        for worker_id, generation, pool, executors, *rest in (row[7:] for row in rows)
        if worker_id is not None
    ]


def read_load(
    lanes: Sequence[tuple[Any, ...]], quotas: Sequence[tuple[Any, ...]]
) -> tuple[Load, dict[UUID, Lane], datetime | None]:
    """What counts for limits, the lanes that have tasks in the queue, and when the next rate that is used up, and is
    waited for, lets one start."""
    held: dict[Lane, int] = {}
    queued: dict[UUID, Lane] = {}
    for own, facts, count, waits in lanes:
        lane = lane_from(facts)
        if count:
            held[lane] = held.get(lane, 0) + count
        if waits:
            queued[own] = lane
    waiting = {scope for lane in queued.values() for scope in lane.scopes}
    counted: dict[str, Quota] = {}
    used_up: list[datetime] = []
    for scope, max_running, starts, per, started, again in quotas:
        counted[scope] = Quota(max_running, Rate(starts=starts, per=per) if starts else None, started)
        if starts and started >= starts and scope in waiting:
            used_up.append(again)
    return Load(held, counted), queued, min(used_up, default=None)
