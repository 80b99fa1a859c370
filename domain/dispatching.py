"""Who runs what next, and why a task waits. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import Literal, TypeAlias
from uuid import UUID

from domain.hosts import Host, Hosts
from domain.lanes import Lane, Needs
from domain.limit import Quota
from domain.task import Grant

AGEING_STEP = timedelta(minutes=10)
"""What one step of priority is worth in waiting time: a task overtakes the next higher priority after so long."""

WhyCode: TypeAlias = Literal[
    "no-worker", "no-label", "worker-gone", "worker-draining", "worker-silent", "no-slot", "limit", "rate"
]


Team: TypeAlias = tuple[str, str]
"""A namespace in a pool."""


@dataclass(frozen=True, slots=True)
class Why:
    """Why the tasks of a lane have to wait. `scope`: the limit that is reached."""

    code: WhyCode
    scope: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Waiting:
    """A queued task. The least goes first: `key` is constant, so nothing has to be sorted anew as time passes."""

    key: datetime
    position: int
    task: UUID
    lane: Lane = field(compare=False)


@dataclass(frozen=True, slots=True)
class Load:
    """What counts for the limits: the open leases of each lane, and the quota of each scope that has one."""

    held: Mapping[Lane, int] = field(default_factory=dict[Lane, int])
    quotas: Mapping[str, Quota] = field(default_factory=dict[str, Quota])


@dataclass(frozen=True, slots=True)
class Dispatch:
    """`grants`: who gets which task, in order. `closed`: why the other tasks of a lane have to wait."""

    grants: Sequence[tuple[Waiting, Grant]]
    closed: Mapping[Lane, Why]


def queue_key(queued_at: datetime, priority: int) -> datetime:
    """The place of a task in the queue: when it came, put back in time by its priority."""
    return queued_at - priority * AGEING_STEP


def moved(was: int, priority: int) -> timedelta:
    """How far a change of priority moves the key of a task in the queue."""
    return (was - priority) * AGEING_STEP


def dispatch(waiting: Sequence[Waiting], hosts: Sequence[Host], load: Load, now: datetime, clock: float) -> Dispatch:
    """Give queued tasks to free slots: each time the least task of the namespace that has the fewest slots of the pool,
    to the worker with the least of its slots in use.

    Among equally used workers, to the one whose last grant is the longest ago, so that equal workers get equal shares.
    `clock`: the lease clock.
    """
    grants: list[tuple[Waiting, Grant]] = []
    closed: dict[Lane, Why] = {}
    field_ = _Field(hosts, load, clock)
    lanes = _by_lane(waiting)
    teams = _teams(lanes)
    heads = [(field_.shares[team], heap[0][0], team) for team, heap in teams.items()]
    heapify(heads)
    while heads:
        _, _, team = heappop(heads)
        heap = teams[team]
        task, _, lane = heappop(heap)
        host = field_.take(lane, _nth(now, len(grants)))
        if isinstance(host, Why):
            closed[lane] = host
        else:
            grants.append((task, Grant(host.worker_id, host.generation, host.beat, host.age(now, clock))))
            lanes[lane].pop()
            if lanes[lane]:
                heappush(heap, (lanes[lane][-1], lane.id, lane))
        if heap:
            heappush(heads, (field_.shares[team], heap[0][0], team))
    return Dispatch(grants, closed)


def allowances(lanes: Iterable[Lane], hosts: Sequence[Host], load: Load, clock: float) -> dict[Lane, int]:
    """How many tasks of each lane could be given out at most, for those of which one could."""
    field_ = _Field(hosts, load, clock)
    most = {lane: min(field_.room(lane.needs), field_.quota(lane)) for lane in lanes}
    return {lane: count for lane, count in most.items() if count > 0}


def obstacles(lane: Lane, hosts: Sequence[Host], load: Load, clock: float) -> list[Why]:
    """All that keeps every task of the lane waiting; nothing: there is room for one."""
    return list(_Field(hosts, load, clock).obstacles(lane))


def most_running(lane: Lane, quotas: Mapping[str, Quota], scope: str) -> int | None:
    """How many tasks of a scope that counts the lane may run at once; None: any number."""
    quota = quotas.get(scope)
    if quota is not None and quota.max_running is not None:
        return quota.max_running
    return next((share.limit for share in lane.shares if share.scope == scope), None)


def last_grants(given: Dispatch, now: datetime) -> dict[str, datetime]:
    """When each worker that was given a task here was given its last one."""
    return {grant.worker_id: _nth(now, n) for n, (_, grant) in enumerate(given.grants)}


def starts(given: Iterable[Lane], load: Load) -> list[str]:
    """The scopes that count starts, once for each lease given that they count. `given`: the lane of each."""
    return [scope for lane in given for scope in lane.scopes if scope in load.quotas and load.quotas[scope].rate]


def _nth(now: datetime, n: int) -> datetime:
    return now + n * timedelta(microseconds=1)


def _by_lane(waiting: Sequence[Waiting]) -> dict[Lane, list[Waiting]]:
    """The tasks of each lane, the least last."""
    lanes: dict[Lane, list[Waiting]] = {}
    for task in sorted(waiting, key=lambda one: (one.key, one.position, one.task), reverse=True):
        lanes.setdefault(task.lane, []).append(task)
    return lanes


def _teams(lanes: Mapping[Lane, Sequence[Waiting]]) -> dict[Team, list[tuple[Waiting, UUID, Lane]]]:
    """The lanes of each namespace in a pool as a heap, by their least task."""
    teams: dict[Team, list[tuple[Waiting, UUID, Lane]]] = {}
    for lane, tasks in lanes.items():
        teams.setdefault((lane.namespace, lane.pool), []).append((tasks[-1], lane.id, lane))
    for heap in teams.values():
        heapify(heap)
    return teams


class _Field:
    """Slots and limits, as they are taken."""

    def __init__(self, hosts: Sequence[Host], load: Load, clock: float) -> None:
        self._hosts, self._clock = Hosts(hosts), clock
        self._quotas = load.quotas
        self._used = {host.worker_id: (host.held, host.granted_at) for host in hosts}
        self._best: dict[Needs, list[tuple[float, datetime, str, Host]]] = {}
        self._held, self._started = Counter[str](), Counter[str]()
        self._room: dict[Needs, int] = {}
        self._whys: dict[Needs, Why] = {}
        self.shares = Counter[Team]()
        """The slots of a pool that a namespace has."""
        for lane, count in load.held.items():
            self.shares[lane.namespace, lane.pool] += count
            for scope in lane.scopes:
                self._held[scope] += count

    def room(self, needs: Needs) -> int:
        """Free slots that serve it."""
        if needs not in self._room:
            self._room[needs] = sum(host.free(self._clock) for host in self._hosts.serving(needs) if not host.draining)
        return self._room[needs]

    def quota(self, lane: Lane) -> int:
        """How many more of it the limits let run."""
        return min((left for left, _ in self._left(lane)), default=2**31)

    def take(self, lane: Lane, at: datetime) -> Host | Why:
        """A slot for a task of the lane; or why there is none."""
        for left, why in self._left(lane):
            if left <= 0:
                return why
        host = self._choose(lane.needs)
        if host is None:
            return self._why_not(lane.needs)
        self._used[host.worker_id] = (self._used[host.worker_id][0] + 1, at)
        self.shares[lane.namespace, lane.pool] += 1
        for scope in lane.scopes:
            self._held[scope] += 1
            self._started[scope] += 1
        return host

    def obstacles(self, lane: Lane) -> Iterable[Why]:
        """All for which `take` would find no slot, the one that it names first."""
        yield from (why for left, why in self._left(lane) if left <= 0)
        if self._choose(lane.needs) is None:
            yield self._why_not(lane.needs)

    def _left(self, lane: Lane) -> Iterable[tuple[int, Why]]:
        for scope in lane.scopes:
            quota, most = self._quotas.get(scope), most_running(lane, self._quotas, scope)
            if most is not None:
                yield most - self._held[scope], Why("limit", scope)
            if quota is not None and quota.rate is not None:
                yield quota.rate.starts - quota.started - self._started[scope], Why("rate", scope)

    def _choose(self, needs: Needs) -> Host | None:
        """The worker with the least of its slots in use. Entries made before others were chosen are made anew."""
        if needs not in self._best:
            serving = self._hosts.serving(needs)
            taking = [host for host in serving if not host.draining and host.free(self._clock)]
            self._best[needs] = [self._entry(host) for host in taking]
            heapify(self._best[needs])
        best = self._best[needs]
        while best:
            entry = best[0]
            host = entry[3]
            if self._used[host.worker_id][0] >= host.slots:
                heappop(best)
            elif entry[:2] != (now := self._entry(host))[:2]:
                heappop(best)
                heappush(best, now)
            else:
                return host
        return None

    def _why_not(self, needs: Needs) -> Why:
        if needs not in self._whys:
            self._whys[needs] = _why_not(self._hosts, needs, self._clock)
        return self._whys[needs]

    def _entry(self, host: Host) -> tuple[float, datetime, str, Host]:
        held, granted_at = self._used[host.worker_id]
        return (held / host.slots, granted_at, host.worker_id, host)


def _why_not(hosts: Hosts, needs: Needs, clock: float) -> Why:
    serving = hosts.serving(needs)
    if not serving and needs.worker is not None:
        return Why("worker-gone")
    if not serving:
        return Why("no-label" if hosts.serving(Needs(needs.pool, needs.executor)) else "no-worker")
    taking = [host for host in serving if not host.draining]
    if not taking:
        return Why("worker-draining")
    return Why("no-slot" if any(host.present(clock) for host in taking) else "worker-silent")
