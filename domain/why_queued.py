"""Why a queued task is not given to a worker. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from domain.dispatching import Load, Waiting, Why, dispatch, most_running, obstacles
from domain.hosts import Host
from domain.lanes import Lane
from domain.reasons import Holder, Reason, text

SLOTS = "slots"
MAX_PARALLEL = {"workflow:": "its workflow", "children:": "the task whose child it is"}
NAMED = 3
"""So many workers, or holders of places, are named."""


@dataclass(frozen=True, slots=True)
class Place:
    """The queue as the dispatcher sees it. `own`: the task in it; None: the dispatcher has not read so far.

    `ahead`: how many of its lane go before it. `waiting`: the least queued tasks of each lane, as many as there is room
    for. `holders`: by scope, and SLOTS, a few of the tasks that have its places. `next_starts`: by scope, when a rate
    that is used up lets the next one start. `clock`: the lease clock.
    """

    own: Waiting | None
    ahead: int = 0
    hosts: Sequence[Host] = ()
    load: Load = field(default_factory=Load)
    waiting: Sequence[Waiting] = ()
    holders: Mapping[str, Sequence[Holder]] = field(default_factory=dict[str, Sequence[Holder]])
    next_starts: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    clock: float = 0.0


def queued(place: Place, now: datetime) -> list[Reason]:
    """All that keeps a queued task from a worker."""
    if place.own is None:
        return [Reason("dispatcher-behind", "just queued: the dispatcher has not read so far; look again")]
    whys = obstacles(place.own.lane, place.hosts, place.load, place.clock)
    return [_obstacle(why, place, place.own.lane) for why in whys] or [_in_turn(place, place.own, now)]


def _in_turn(place: Place, own: Waiting, now: datetime) -> Reason:
    if _granted(place, own, place.waiting, now):
        return Reason("due", "nothing stands in its way: it is given to a worker at once")
    near = [task for task in place.waiting if task.lane.namespace == own.lane.namespace]
    lane = {"ahead": place.ahead}
    if _granted(place, own, near, now):
        who = "the free slots go to tasks of namespaces that have fewer of the pool"
        return Reason("fair-share", f"{who} than {own.lane.namespace}", lane)
    detail = f"others go before it to the free slots, {place.ahead} of them with the same needs"
    return Reason("queue-order", f"{detail}; put it before them with: tally set-priority", lane)


def _granted(place: Place, own: Waiting, others: Iterable[Waiting], now: datetime) -> bool:
    waiting = list({task.task: task for task in (*others, own)}.values())
    given = dispatch(waiting, place.hosts, place.load, now, place.clock)
    return any(task.task == own.task for task, _ in given.grants)


def _obstacle(why: Why, place: Place, lane: Lane) -> Reason:
    pool = {"pool": lane.pool, "executor": lane.executor}
    match why.code:
        case "limit" if why.scope is not None:
            return _limit(why.scope, place, lane)
        case "rate" if why.scope is not None:
            return _rate(why.scope, place)
        case "no-worker":
            wants = f"pool {lane.pool} has no worker for executor {lane.executor}"
            return Reason("no-worker", f"{wants}; start one, or submit it to another pool", pool)
        case "no-label":
            labels = ", ".join(f"{name}={value}" for name, value in lane.labels)
            detail = f"no worker of pool {lane.pool} has {labels}; start one with TALLY_WORKER__LABELS"
            return Reason("no-label", detail, {**pool, "labels": dict(lane.labels)})
        case "worker-gone":
            detail = f"it must run on {lane.worker}, which is gone, or no longer serves it; start it again, or cancel"
            return Reason("worker-gone", detail, {**pool, "worker_id": lane.worker})
        case "worker-draining":
            return _draining(place, lane, pool)
        case "worker-silent":
            return _silent(place, lane, pool)
        case _:
            return _no_slot(place, lane, pool)


def _limit(scope: str, place: Place, lane: Lane) -> Reason:
    most = most_running(lane, place.load.quotas, scope)
    used = sum(count for other, count in place.load.held.items() if scope in other.scopes)
    holders = place.holders.get(scope, ())
    facts = {"scope": scope, "max_running": most, "running": used, "holders": [one.task_id for one in holders]}
    for kind, whose in MAX_PARALLEL.items():
        if scope.startswith(kind):
            detail = f"max_parallel={most} of {whose} ({used} used by {_few(holders, used)}); one of them must end"
            return Reason("limit", detail, facts)
    out = f"tally limit set {scope} --max-running {max(used, most or 0) + 1}"
    if scope.startswith("key:"):
        out = f"tally limit set key:{scope.partition('/')[2]} --max-running {max(used, most or 0) + 1}"
    if not used:
        return Reason("limit", f"{scope} max_running={most} holds all back; let them run with: {out}", facts)
    return Reason("limit", f"{scope} max_running={most} ({used} used by {_few(holders, used)}); {out}", facts)


def _rate(scope: str, place: Place) -> Reason:
    rate = place.load.quotas[scope].rate
    assert rate is not None, "a rate is reached"
    facts: dict[str, Any] = {"scope": scope, "starts": rate.starts, "per": _span(rate.per)}
    at = place.next_starts.get(scope)
    again = f"; the next may start at {text(at)}" if at else ""
    facts |= {"until": text(at)} if at else {}
    return Reason("rate", f"{scope} rate={rate.starts}/{_span(rate.per)} is used up{again}", facts)


def _draining(place: Place, lane: Lane, pool: Mapping[str, str]) -> Reason:
    names = sorted(host.worker_id for host in place.hosts if host.serves(lane.needs))
    out = f"take it back into service with: tally worker start {names[0]}"
    if lane.worker is not None:
        return Reason("worker-draining", f"it must run on {lane.worker}, which is draining; {out}", _of(pool, names))
    detail = f"all that could run it are draining: {_listed(names)}; {out}, or start another"
    return Reason("worker-draining", detail, _of(pool, names))


def _of(pool: Mapping[str, str], names: Sequence[str]) -> dict[str, Any]:
    return {**pool, "workers": list(names[:NAMED])}


def _silent(place: Place, lane: Lane, pool: Mapping[str, str]) -> Reason:
    serving = sorted((host for host in place.hosts if host.takes(lane.needs)), key=lambda host: -host.heard)
    said = ", ".join(f"{host.worker_id} for {place.clock - host.heard:.0f} s" for host in serving[:NAMED])
    names = [host.worker_id for host in serving]
    detail = f"not heard: {said}{_more(len(serving))}; look at its host"
    return Reason("worker-silent", detail, _of(pool, names))


def _no_slot(place: Place, lane: Lane, pool: Mapping[str, str]) -> Reason:
    serving = [host for host in place.hosts if host.takes(lane.needs) and host.present(place.clock)]
    draining = sorted(host.worker_id for host in place.hosts if host.draining and host.serves(lane.needs))
    slots, held = sum(host.slots for host in serving), sum(host.held for host in serving)
    holders = place.holders.get(SLOTS, ())
    facts: dict[str, Any] = {**pool, "slots": slots, "held": held, "holders": [one.task_id for one in holders]}
    facts |= {"draining": draining[:NAMED]} if draining else {}
    names = _listed(sorted(host.worker_id for host in serving))
    where = f"the {slots} slots of {names} are taken by {_few(holders, held)}"
    also = f" ({_listed(draining)}: draining)" if draining else ""
    return Reason("no-slot", f"{where}; one must end, or start a worker{also}", facts)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + _more(len(names))


def _few(holders: Sequence[Holder], count: int) -> str:
    named = ", ".join(one.task_id for one in holders[:NAMED])
    if not named:
        return f"{count} that you may not see, or that just ended"
    return named + (f" +{count - NAMED}" if count > NAMED and len(holders) >= NAMED else "")


def _more(count: int) -> str:
    return f" +{count - NAMED}" if count > NAMED else ""


def _span(span: timedelta) -> str:
    return f"PT{span.total_seconds():g}S"
