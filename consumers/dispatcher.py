"""Queued tasks get free slots."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from consumers.deciding import Draft
from domain.dispatching import Waiting, dispatch, last_grants, queue_key
from domain.events import RunLeased
from domain.lease_clock import LeaseClock, offer_until
from domain.ports.conducting import NewLease, Survey

END_OF_LOG = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Granted:
    """`leases` that were given, the tasks whose turn in the queue is over, and when each worker was last chosen."""

    leases: Sequence[NewLease]
    unqueued: Sequence[UUID]
    chosen: dict[str, datetime]


def grant(draft: Draft, survey: Survey, clock: LeaseClock, limit: int) -> Granted:
    """Lease queued and just freed tasks to free slots. A task that is queued no longer leaves the queue unleased."""
    waiting = [*survey.waiting, *(_just_freed(draft, task) for task in draft.freed)]
    first = sorted(task for task in waiting if draft.open(task.task))[:limit]
    given = dispatch(first, survey.hosts, draft.now, clock.seconds)
    until = offer_until(clock, draft.now)
    leases: list[NewLease] = []
    unqueued: list[UUID] = []
    for task, chosen in given.grants:
        events = draft.grant(task.task, chosen)
        if events is not None:
            unqueued.append(task.task)
            leases += [_lease(task.task, event, until) for event in events if isinstance(event, RunLeased)]
    return Granted(leases, unqueued, last_grants(given, draft.now))


def _just_freed(draft: Draft, task: UUID) -> Waiting:
    freed = draft.freed[task][0]
    spec = freed.facts.submitted.spec
    key = queue_key(draft.now, freed.priority)
    return Waiting(key, END_OF_LOG, task, spec.requires.pool, spec.executor)


def _lease(task: UUID, event: RunLeased, until: float) -> NewLease:
    return NewLease(event.run_id, event.fence, task, event.worker_id, event.generation, until)
