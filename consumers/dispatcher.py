"""Queued tasks get free slots; where a place is short, one is cancelled for another."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from consumers.deciding import DISPATCHER, Draft, Streams, Wish
from domain.caching import looks
from domain.crowding import Member, crowded_out
from domain.dispatching import Waiting, dispatch, last_grants, queue_key, starts
from domain.events import RunLeased, TaskCancelling
from domain.lanes import lane_of
from domain.lease_clock import LeaseClock, offer_until
from domain.ports.conducting import NewLease, Survey
from domain.runs import queued_as
from domain.task import Cancel

END_OF_LOG = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Granted:
    """`leases` that were given, the tasks whose turn in the queue is over, when each worker was last chosen, and the
    scopes whose rates count the leases, with the time."""

    leases: Sequence[NewLease]
    unqueued: Sequence[UUID]
    chosen: dict[str, datetime]
    starts: Sequence[tuple[str, datetime]]


def first(survey: Survey, out: Collection[UUID], now: datetime, clock: float) -> Sequence[Waiting]:
    """The queued tasks that would be given out if none were freed in this round; never one of `out`."""
    waiting = [task for task in survey.waiting if task.task not in out] if out else survey.waiting
    return [task for task, _ in dispatch(waiting, survey.hosts, survey.load, now, clock).grants]


def grant(draft: Draft, survey: Survey, queued: Sequence[Waiting], clock: LeaseClock, limit: int) -> Granted:
    """Lease `queued` and just freed tasks to free slots. One that is queued no longer leaves the queue unleased."""
    freed = [_just_freed(draft, task) for task in draft.freed]
    waiting = [task for task in (*queued, *filter(None, freed)) if draft.open(task.task)]
    given = dispatch(waiting, survey.hosts, survey.load, draft.now, clock.seconds)
    given = replace(given, grants=given.grants[:limit])
    until = offer_until(clock, draft.now)
    leases: list[NewLease] = []
    unqueued: list[Waiting] = []
    for task, chosen in given.grants:
        events = draft.grant(task.task, chosen)
        if events is not None:
            unqueued.append(task)
            leases += [_lease(task, event, until) for event in events if isinstance(event, RunLeased)]
    started = [(scope, draft.now) for scope in starts([lease.lane for lease in leases], survey.load)]
    return Granted(leases, [task.task for task in unqueued], last_grants(given, draft.now), started)


def crowded(survey: Survey) -> dict[UUID, Cancel]:
    """The tasks that are crowded out, first those that are queued."""
    held = {member.task for member in survey.crowd if member.held}
    out = crowded_out(survey.crowd, survey.load.quotas)
    return {task: out[task] for task in sorted(out, key=lambda task: (task in held, task))}


def doubtful(survey: Survey, out: Collection[UUID], loaded: Streams) -> set[UUID]:
    """Who has a place for which another would now be cancelled as the oldest: perhaps it is being cancelled itself."""
    newly = [member for member in survey.crowd if member.task in out and not _is_cancelling(member, loaded)]
    crowds = {member.lane.crowd for member in newly if member.share.when_full == "cancel-oldest"}
    return {member.task for member in survey.crowd if member.held and member.lane.crowd in crowds}


def still_crowded(survey: Survey, out: Mapping[UUID, Cancel], loaded: Streams) -> dict[UUID, Cancel]:
    """Those of `out` that are crowded out although nobody is for one whose place is about to be free."""
    members = [one for one in survey.crowd if one.share.when_full != "cancel-oldest" or not _is_cancelling(one, loaded)]
    still = crowded_out(members, survey.load.quotas)
    return {task: cancel for task, cancel in out.items() if task in still}


def _is_cancelling(member: Member, loaded: Streams) -> bool:
    return member.held and any(row.type == TaskCancelling.TYPE for row in loaded.get(member.task, ()))


def crowding(out: Mapping[UUID, Cancel], loaded: Streams) -> Iterable[tuple[UUID, Wish]]:
    """Each of these tasks is cancelled."""
    for task, cancel in out.items():
        yield task, Wish(task, cancel, loaded[task][-1].following(DISPATCHER))


def _just_freed(draft: Draft, task: UUID) -> Waiting | None:
    """None: where the task may run, or whether it need not, is not known in this round."""
    freed = draft.freed[task][0]
    if looks(freed.facts.submitted):
        return None
    queued = queued_as(freed.facts.submitted)
    if queued.same_worker_as is not None:
        return None
    lane = lane_of(draft.loaded[task][0].namespace, queued)
    return Waiting(queue_key(draft.now, freed.priority), END_OF_LOG, task, lane)


def _lease(task: Waiting, event: RunLeased, until: float) -> NewLease:
    return NewLease(event.run_id, event.fence, task.task, event.worker_id, event.generation, until, task.lane)
