"""A task's states and how an event changes them. Pure."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

from domain import events as e
from domain.filling import Work


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's right to a run, numbered by `fence`."""

    run_id: UUID
    run: int
    fence: int
    worker_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a task in every state. `run` and `fence` are the last ones given, 0 before the first.

    `losses` and `failures`: runs that were lost, and that failed. `fallback`: its next run, or this one, is the last.
    `priority`: the one it was given since its submission. `paused`: it is not queued before it is resumed. `filled`:
    what its templates became, at version `filled_at`. `children`: how many one with `for_each` has, as far as an event
    says it.
    """

    id: UUID
    version: int
    submitted: e.TaskSubmitted
    run: int = 0
    fence: int = 0
    losses: int = 0
    failures: int = 0
    fallback: bool = False
    priority: int | None = None
    paused: bool = False
    filled: Work | None = None
    filled_at: int | None = None
    children: int | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """Any state of a task."""

    facts: Facts

    @property
    def id(self) -> UUID:
        return self.facts.id

    @property
    def version(self) -> int:
        return self.facts.version

    @property
    def task_id(self) -> str:
        return self.facts.submitted.task_id

    @property
    def priority(self) -> int:
        given = self.facts.priority
        return self.facts.submitted.spec.priority if given is None else given


@dataclass(frozen=True, slots=True)
class Blocked(Base):
    """Waits for other tasks (also the moment between its first two events)."""


@dataclass(frozen=True, slots=True)
class Queued(Base):
    """Waits for a free slot, since its version `since`.

    `again`: its last run was offered and never accepted, so it is offered once more.
    """

    since: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Delayed(Base):
    """Waits for a time and nothing else: to be queued first, or for its next run after one that failed."""


@dataclass(frozen=True, slots=True)
class Paused(Base):
    """Waits to be resumed and for nothing else. `again`: as of a queued task."""

    again: bool = False


@dataclass(frozen=True, slots=True)
class Spread(Base):
    """It has become children, and ends when they have."""


@dataclass(frozen=True, slots=True)
class Recalled(Base):
    """Cancelled when it was spread; its children are being cancelled."""

    by: str
    reason: str | None
    grace: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Held(Base):
    """A worker has, or may have, the run of this lease."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Leased(Held):
    """Offered to a worker."""


@dataclass(frozen=True, slots=True)
class Running(Held):
    """Its container was started."""


@dataclass(frozen=True, slots=True)
class TimingOut(Held):
    """Past its time; its container is being stopped."""


@dataclass(frozen=True, slots=True)
class Cancelling(Held):
    """Cancelled while held; its container is being stopped, and has `grace` from TERM to KILL."""

    by: str
    reason: str | None
    started: bool
    grace: timedelta


@dataclass(frozen=True, slots=True)
class Ended(Base):
    """Over, for good. `status` is the last part of its last event's type."""

    status: str


Task: TypeAlias = (
    Blocked | Queued | Delayed | Paused | Spread | Recalled | Leased | Running | TimingOut | Cancelling | Ended
)


def evolve(task: Task | None, id: UUID, event: e.Event) -> Task:
    """The state after `event`, the next of the stream `id`."""
    if task is None:
        if not isinstance(event, e.TaskSubmitted):
            raise ValueError(f"stream {id} begins with {event.TYPE}, not with {e.TaskSubmitted.TYPE}")
        return Blocked(Facts(id, 1, event))
    facts = replace(task.facts, version=task.version + 1)
    match event, task:
        case e.TaskQueued(), Paused(again=again):
            return Queued(facts, facts.version, again)
        case e.TaskQueued(after=after), _:
            return Queued(facts, facts.version, again=after == "offer-not-accepted")
        case e.TaskPaused(), Queued(again=again):
            return Paused(replace(facts, paused=True), again)
        case e.TaskPaused() | e.TaskResumed(), _:
            return replace(task, facts=replace(facts, paused=isinstance(event, e.TaskPaused)))
        case e.RunLeased(run=run, fence=fence), _:
            lease = Lease(event.run_id, run, fence, event.worker_id, event.generation)
            return Leased(replace(facts, run=run, fence=fence), lease)
        case e.RunStarted(), Leased(lease=lease):
            return Running(facts, lease)
        case e.RunStarted(), Cancelling():
            return replace(task, facts=facts, started=True)
        case e.RunTimingOut(), Running(lease=lease):
            return TimingOut(facts, lease)
        case e.TaskCancelling(by=by, reason=reason, grace=grace), Held():
            return Cancelling(facts, task.lease, by, reason, has_started(task), grace)
        case e.TaskPriorityChanged(priority=priority), _:
            return replace(task, facts=replace(facts, priority=priority))
        case e.TaskFilled(container=container, input=given, fallback=fallback), _:
            filled = Work(container=container, input=given, fallback=fallback)
            return replace(task, facts=replace(facts, filled=filled, filled_at=facts.version))
        case e.RunLost(retry_at=None), _:
            return replace(task, facts=replace(facts, losses=facts.losses + 1))
        case e.RunFailed(fallback=fallback) | e.RunLost(fallback=fallback), _ if event.retry_at is not None:
            losses = facts.losses + isinstance(event, e.RunLost)
            spent = replace(facts, losses=losses, failures=facts.failures + 1, fallback=bool(fallback))
            return Delayed(spent)
        case e.TaskBlocked(by=by), Blocked() if all(isinstance(one, e.BlockerTime) for one in by):
            return Delayed(replace(facts, children=event.children))
        case e.TaskBlocked(by=(e.BlockerPause(),), children=children), _:
            return Paused(replace(facts, children=facts.children if children is None else children))
        case e.TaskSpread(children=children), _:
            return Spread(replace(facts, children=children))
        case e.TaskRecalled(by=by, reason=reason, grace=grace), _:
            return Recalled(facts, by, reason, grace)
        case _, _ if event.TYPE in e.ENDS:
            return Ended(facts, status=event.TYPE.split(".")[1])
        case _:
            return replace(task, facts=facts)


def has_started(task: Held) -> bool:
    """Whether a report of its start has come, which says as much as a beat that lists the run."""
    return task.started if isinstance(task, Cancelling) else not isinstance(task, Leased)


def stands(task: Task) -> str:
    """As what is said of it goes on: `is running`, `has already been cancelled`."""
    match task:
        case Ended(status="cancelled" | "skipped" | "quarantined"):
            return f"has already been {task.status}"
        case Ended():
            return f"has already {task.status}"
        case Leased():
            return "has been given to a worker"
        case Cancelling() | Recalled():
            return "is being cancelled"
        case Spread():
            return "has been spread over its children"
        case _:
            return "is running"
