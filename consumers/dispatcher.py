"""Queued tasks get free slots."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from consumers.deciding import Draft
from domain.dispatching import Host, Waiting, dispatch, last_grants, queue_key, room
from domain.events import RunLeased
from domain.lease_clock import LeaseClock, offer_until
from domain.ports.conducting import ConductorTurn, NewLease, Survey

END_OF_LOG = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Offering:
    """The free slots there are, and the tasks that come first."""

    hosts: Sequence[Host] = ()
    waiting: Sequence[Waiting] = ()

    @property
    def needs(self) -> set[UUID]:
        """The streams that grants are decided on."""
        return {task.task for task in self.waiting}


@dataclass(frozen=True, slots=True)
class Granted:
    """`leases` that were given, the tasks whose turn in the queue is over, and when each worker was last chosen."""

    leases: Sequence[NewLease]
    unqueued: Sequence[UUID]
    chosen: dict[str, datetime]


async def look(turn: ConductorTurn, survey: Survey, clock: LeaseClock, limit: int) -> Offering:
    """What could be granted now, at most `limit` tasks of a pool and executor."""
    free = {kind: min(slots, limit) for kind, slots in room(survey.hosts, clock.seconds).items()}
    return Offering(survey.hosts, await turn.waiting(free) if free and survey.queued else ())


def grant(draft: Draft, offering: Offering, clock: LeaseClock, limit: int) -> Granted:
    """Lease queued and just freed tasks to free slots. A task that is queued no longer leaves the queue unleased."""
    waiting = [*offering.waiting, *(_just_freed(draft, task) for task in draft.freed)]
    first = sorted(task for task in waiting if draft.open(task.task))[:limit]
    given = dispatch(first, offering.hosts, draft.now, clock.seconds)
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
    spec = draft.freed[task][0].facts.submitted.spec
    key = queue_key(draft.now, spec.priority)
    return Waiting(key, END_OF_LOG, task, spec.requires.pool, spec.executor)


def _lease(task: UUID, event: RunLeased, until: float) -> NewLease:
    return NewLease(event.run_id, event.fence, task, event.worker_id, event.generation, until)
