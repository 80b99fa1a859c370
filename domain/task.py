"""What may be decided of a task in each state: a table. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from domain import events as e
from domain.caching import Reuse, reused
from domain.commands import CancelTask, ChangeTask, PauseTask, ResumeTask, SetPriority
from domain.errors import BadInput, BadState, Unfilled
from domain.filling import fill
from domain.ids import derived_id
from domain.reports import RunFinish, RunStart
from domain.runs import After, cancelling, late, queued, reported, timing_out
from domain.silence import lease_closed
from domain.spreading import freed, gathered, going_on
from domain.task_states import (
    Blocked,
    Cancelling,
    Delayed,
    Ended,
    Facts,
    Leased,
    Paused,
    Queued,
    Recalled,
    Running,
    Spread,
    Task,
    TimingOut,
    stands,
)
from domain.task_type import check_filled
from domain.templates import Known

OFFER_SPAN = timedelta(seconds=10)
OFFER_MARGIN = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Free:
    """All that the task depends on has ended as it needs it. `known`: those of them that its templates read."""

    known: Mapping[str, Known] | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """`because` can no longer succeed."""

    because: str


@dataclass(frozen=True, slots=True)
class Grant:
    """Give the task's next run to a worker whose beat `beat` was received `age` ago."""

    worker_id: str
    generation: int
    beat: int
    age: timedelta


@dataclass(frozen=True, slots=True)
class CloseLease:
    """The lease with this fence has run out. `accepted`: a beat had listed it."""

    fence: int
    accepted: bool


@dataclass(frozen=True, slots=True)
class TimeOut:
    """The run of this lease is past its time."""

    fence: int


@dataclass(frozen=True, slots=True)
class Wake:
    """The time has come that the task waits for after the run with this fence (0: before any)."""

    fence: int


@dataclass(frozen=True, slots=True)
class Expire:
    """The task has waited too long: in the queue since its version `since`, for a task `because` that nobody has
    submitted, or for whatever."""

    reason: Literal["queue-timeout", "expires-at", "forward-deadline"]
    since: int = 0
    because: str | None = None


@dataclass(frozen=True, slots=True)
class Gather:
    """All children of the task have ended. `counts`: how -> how many."""

    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Prioritise:
    """Have the task go before those of lower priority."""

    priority: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Have the task not run before it is resumed."""

    by: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """The task may run again."""

    by: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the task. `grace` None: its own stop timeout."""

    by: str
    reason: str | None = None
    grace: timedelta | None = None


Decision: TypeAlias = (
    Free
    | Skip
    | Grant
    | Reuse
    | CloseLease
    | TimeOut
    | Wake
    | Expire
    | Gather
    | Prioritise
    | Pause
    | Resume
    | Cancel
    | RunStart
    | RunFinish
)


def asked(command: ChangeTask, by: str) -> Decision:
    """What `by` asks of a task with this command."""
    match command:
        case CancelTask(reason=reason, grace=grace):
            return Cancel(by, reason, grace)
        case PauseTask(reason=reason):
            return Pause(by, reason)
        case ResumeTask():
            return Resume(by)
        case SetPriority(priority=priority):
            return Prioritise(priority)


def decide(task: Task, command: Decision, now: datetime) -> list[e.TaskEvent]:
    """The events that `command` adds to `task`; none when it is already so. Raises BadState for what can never be."""
    if isinstance(task, Spread | Recalled) or isinstance(command, Gather):
        return _of_children(task, command)
    match task, command:
        case ((Blocked() | Delayed() | Queued()), (Free() | Wake() | Grant() | Reuse())) if _is_over(task, now):
            return [_expired(task, "expires-at")]
        case Blocked(), Free(known=known):
            return _freed(task, known or {}, now)
        case Blocked(), Skip(because=because):
            return [e.TaskSkipped(task_id=task.task_id, because=because)]
        case Queued(), Grant():
            return [_leased(task, command, now)]
        case Queued(since=since), Reuse(since=given) if since == given:
            return [reused(task, command)]
        case Delayed(facts=Facts(fence=last)), Wake(fence=fence) if last == fence:
            return [_awake(task)]
        case Queued(since=since), Expire(reason="queue-timeout", since=given) if since == given:
            return [_expired(task, "queue-timeout")]
        case ((Blocked() | Delayed() | Queued() | Paused()), Expire(reason="expires-at")):
            return [_expired(task, "expires-at")]
        case Blocked(), Expire(reason="forward-deadline", because=because):
            return [_expired(task, "forward-deadline", because)]
        case ((Blocked() | Delayed() | Queued() | Paused()), Pause(by=by, reason=reason)):
            return [] if task.facts.paused else [e.TaskPaused(task_id=task.task_id, by=by, reason=reason)]
        case _, Pause():
            raise BadState(f"task {task.task_id} {stands(task)}: only one that waits can be paused")
        case Ended(), Resume():
            raise BadState(f"task {task.task_id} {stands(task)}: retry it, as a new task")
        case _, Resume(by=by) if task.facts.paused:
            return _resumed(task, by)
        case ((Blocked() | Queued() | Delayed() | Paused()), Cancel(by=by, reason=reason)):
            return [e.TaskCancelled(task_id=task.task_id, by=by, reason=reason, runs=task.facts.run)]
        case Leased() | Running() | TimingOut() | Cancelling(), Cancel():
            return cancelling(task, command.grace, command.by, command.reason)
        case Ended(), (Prioritise() | Cancel()):
            none = "it waits for nothing" if isinstance(command, Prioritise) else "nothing is left to cancel"
            raise BadState(f"task {task.task_id} {stands(task)}: {none}")
        case _, Prioritise(priority=priority):
            return [_prioritised(task, priority)] if priority != task.priority else []
        case Running(lease=lease), TimeOut(fence=fence) if lease.fence == fence:
            return [timing_out(task)]
        case Leased() | Running() | TimingOut() | Cancelling(), RunStart() | RunFinish():
            return reported(task, command, now)
        case _, RunStart() | RunFinish():
            return [late(task, command)]
        case Leased() | Running() | TimingOut() | Cancelling(), CloseLease(fence=fence) if task.lease.fence == fence:
            return lease_closed(task, command.accepted, now)
        case _:
            return []


def _of_children(task: Task, command: Decision) -> list[e.TaskEvent]:
    """What a task decides that is spread."""
    match task, command:
        case Spread(), Cancel(by=by, reason=reason, grace=grace):
            return [e.TaskRecalled(task_id=task.task_id, by=by, reason=reason, grace=grace)]
        case Spread() | Recalled(), Gather(counts=counts):
            return [gathered(task, counts)]
        case _, Pause() | Prioritise():
            raise BadState(f"task {task.task_id} {stands(task)}: ask this of its children")
        case _, RunStart() | RunFinish():
            return [late(task, command)]
        case _:
            return []


def _freed(task: Blocked, known: Mapping[str, Known], now: datetime) -> list[e.TaskEvent]:
    submitted = task.facts.submitted
    if submitted.spec.for_each is not None:
        return freed(task, known, now)
    filled: list[e.TaskEvent] = []
    if submitted.reads and task.facts.filled is None:
        try:
            work = fill(submitted.work, known)
            check_filled(submitted, work)
        except (Unfilled, BadInput) as unfit:
            return [e.TaskFailed(task_id=task.task_id, reason=unfit.code, runs=0, detail=unfit.detail[:1024])]
        filled = [e.TaskFilled(task_id=task.task_id, **dict(work))]
    until = submitted.spec.not_before
    if until is not None and now < until:
        return [*filled, e.TaskBlocked(task_id=task.task_id, by=(e.BlockerTime(until=until),))]
    return [*filled, _held_back(task) if task.facts.paused else queued(task, "dependencies")]


def _awake(task: Delayed) -> e.TaskEvent:
    if task.facts.paused:
        return _held_back(task)
    return _going_on(task, "retry" if task.facts.failures else "time")


def _resumed(task: Task, by: str) -> list[e.TaskEvent]:
    resumed = e.TaskResumed(task_id=task.task_id, by=by)
    return [resumed, _going_on(task, "pause")] if isinstance(task, Paused) else [resumed]


def _going_on(task: Task, after: After) -> e.TaskEvent:
    return queued(task, after) if task.facts.submitted.spec.for_each is None else going_on(task)


def _held_back(task: Task) -> e.TaskBlocked:
    return e.TaskBlocked(task_id=task.task_id, by=(e.BlockerPause(),))


def _is_over(task: Task, now: datetime) -> bool:
    expires_at = task.facts.submitted.spec.expires_at
    return expires_at is not None and expires_at <= now


def _expired(
    task: Task, reason: Literal["queue-timeout", "expires-at", "forward-deadline"], because: str | None = None
) -> e.TaskExpired:
    return e.TaskExpired(task_id=task.task_id, reason=reason, runs=task.facts.run, because=because)


def _prioritised(task: Task, priority: int) -> e.TaskPriorityChanged:
    return e.TaskPriorityChanged(task_id=task.task_id, priority=priority, was=task.priority)


def _leased(task: Queued, grant: Grant, now: datetime) -> e.RunLeased:
    run = task.facts.run if task.again else task.facts.run + 1
    return e.RunLeased(
        task_id=task.task_id,
        run_id=derived_id(task.id, f"run:{run}"),
        run=run,
        fence=task.facts.fence + 1,
        worker_id=grant.worker_id,
        generation=grant.generation,
        beat=grant.beat,
        within=grant.age + OFFER_SPAN,
        expires_at=now + OFFER_SPAN + OFFER_MARGIN,
        fallback=task.facts.fallback or None,
        filled=task.facts.filled_at,
    )
