"""Every event: a fact about one task, workflow or worker, recorded once and never changed.

`task_id` and `workflow_id` are the names their user gave, or the ids of their streams where he gave none;
the stream's own id travels beside the event (`ce-subject`).
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from domain.filling import Work, work_of
from domain.messages import Json, Message, Value, by_type
from domain.notifications import NotificationFailed, NotificationSent
from domain.placing import Cache, Concurrency, Rate
from domain.reports import Artifact, LogEnd, RunError, Sha256
from domain.schedule_spec import ScheduleSpec
from domain.specs import Container, OnFailure, Priority, TaskSpec, Timeouts, When
from domain.type_specs import Definition


class Upstream(Value):
    """A task that came before this one: the name it was given and its stream."""

    task_id: str
    stream: UUID


class ForkPoint(Upstream):
    """The task that another was made of, as it stood at a version of its history."""

    version: int


class ChildOf(Upstream):
    """The task whose `for_each` made this one, the item that this one is for, and its place. `max_parallel`: of its
    children. `workflow`: of that task, if it limits how many run at once."""

    index: int
    item: Json = None
    max_parallel: int | None = None
    workflow: UUID | None = None


class TaskSubmitted(Message):
    """A task was accepted. `spec` is what its user sent, and where he left it out what its type says; `container` what
    will run (None: as `spec` says, or nothing).

    `retry_of`: the ended task that this one does once more. `forked_from`: the one that it was made of, with changes.
    `max_parallel`: of its workflow. `schedule_id`, `nominal`: whose fire it is, and for when. `reads`: the tasks that
    its templates read. `filled`: what its templates became, where that was known already. `task_type_version`: of the
    type that it has, unless that is built in; `input_schema`: what its input must fit once its templates are filled.
    With `for_each` these three, `container`, and `max_parallel` are its children's; `child_of` is what a child has.
    """

    TYPE = "task.submitted.v1"
    task_id: str
    spec: TaskSpec
    container: Container | None = None
    depends_on: tuple[Upstream, ...] = ()
    workflow_id: str | None = None
    workflow: UUID | None = None
    retry_of: Upstream | None = None
    forked_from: ForkPoint | None = None
    schedule_id: str | None = None
    nominal: datetime | None = None
    max_parallel: int | None = None
    reads: tuple[str, ...] | None = None
    filled: Work | None = None
    task_type_version: int | None = None
    input_schema: dict[str, Json] | None = None
    child_of: ChildOf | None = None

    @property
    def work(self) -> Work:
        """What it runs, unless it is filled later."""
        return self.filled or work_of(self.spec, self.container)

    @property
    def timeouts(self) -> Timeouts:
        return self.spec.timeouts


class Blocker(Value):
    """A task that a task waits for, and how it must end. `forward_until`: there is none of that name yet, and the
    wait is over if there is none then."""

    kind: Literal["dependency"] = "dependency"
    task_id: str
    needs: When = "succeeded"
    forward_until: datetime | None = None


class BlockerSet(Value):
    """So many of these tasks must end as each says."""

    kind: Literal["dependencies"] = "dependencies"
    at_least: int
    of: tuple[Blocker, ...]


class BlockerTime(Value):
    """It is too early."""

    kind: Literal["time"] = "time"
    until: datetime


class BlockerPause(Value):
    """It was paused, and waits for nothing else any more."""

    kind: Literal["pause"] = "pause"


AnyBlocker: TypeAlias = Blocker | BlockerSet | BlockerTime | BlockerPause


class TaskBlocked(Message):
    """A task waits for others, or for a time; for the time, or to be resumed, only once it waits for nothing else.
    `children`: how many a task with `for_each` will have, where that is known now and not by its submission."""

    TYPE = "task.blocked.v1"
    task_id: str
    by: tuple[AnyBlocker, ...]
    children: int | None = None


class TaskFilled(Work, Message):
    """The templates of a task were filled: from now on this is what it runs."""

    TYPE = "task.filled.v1"
    task_id: str


class TaskQueued(Message):
    """A task waits for a free slot. `after` says what made it wait again (None: nothing, it is its first time).

    It expires when it still waits after `timeout`, or at `expires_at`. What else it needs of a worker, and the limits
    that it brings along, are absent where there are none; `same_worker_as` is the stream of another task. `workflow`
    and `max_parallel`: that is how many tasks of the workflow run at once; `parent` and `siblings`: so many children of
    that task. `cache`: what it says of taking the result of another instead.
    """

    TYPE = "task.queued.v1"
    task_id: str
    pool: str
    executor: str
    priority: Priority
    after: Literal["dependencies", "offer-not-accepted", "run-lost", "retry", "time", "pause"] | None = None
    timeout: timedelta | None = None
    expires_at: datetime | None = None
    labels: dict[str, str] | None = None
    same_worker_as: UUID | None = None
    concurrency: Concurrency | None = None
    workflow: UUID | None = None
    max_parallel: int | None = None
    cache: Cache | None = None
    parent: UUID | None = None
    siblings: int | None = None


class TaskSpread(Message):
    """A task with `for_each` waits for nothing any more: it becomes so many children, each a task of its own, and ends
    when they have. The child of index 7 is the task `<task_id>[7]`."""

    TYPE = "task.spread.v1"
    task_id: str
    children: Annotated[int, Field(ge=1)]


class TaskRecalled(Message):
    """A task was cancelled after it was spread: no further children are submitted, and those that have not ended are
    being cancelled. It ends when they have."""

    TYPE = "task.recalled.v1"
    task_id: str
    by: str
    reason: str | None = None


class RunLeased(Message):
    """A worker was given a run. It may start it until `within` after it sent its beat number `beat`. `fallback`: with
    the image or command that stands in when all other runs have failed.

    `expires_at`: from here on the platform may lease again unless a beat has listed the run. `filled`: the version at
    which its templates were filled; absent: what its submission says is what it runs.
    """

    TYPE = "task.run-leased.v1"
    task_id: str
    run_id: UUID
    run: Annotated[int, Field(ge=1)]
    fence: Annotated[int, Field(ge=1)]
    worker_id: str
    generation: int
    beat: int
    within: timedelta
    expires_at: datetime
    fallback: bool | None = None
    filled: int | None = None


class RunStarted(Message):
    """A run's container was started (executor noop: the run began)."""

    TYPE = "task.run-started.v1"
    task_id: str
    run_id: UUID
    run: int
    fence: int
    worker_id: str
    container_id: str | None = None
    image_digest: str | None = None


class RunSucceeded(Message):
    """A run ended with exit code 0. `oom_killed`: the engine killed a process of it for memory; absent: none."""

    TYPE = "task.run-succeeded.v1"
    task_id: str
    run_id: UUID
    run: int
    fence: int
    exit_code: int | None = None
    oom_killed: bool | None = None
    log: LogEnd | None = None


class RunFailed(Message):
    """A run ended without success. The exit code, the out-of-memory flag and our signal are the worker's, raw.

    `retry_at`: when the task is queued for its next run; absent: there is none. `fallback`: that one is the last, with
    the image or command that the task names for it. `verified` False: its container was not seen gone, and may run on
    beside the next.
    """

    TYPE = "task.run-failed.v1"
    task_id: str
    run_id: UUID
    run: int
    fence: int
    reason: str
    exit_code: int | None = None
    oom_killed: bool = False
    signal: str | None = None
    error: RunError | None = None
    log: LogEnd | None = None
    retry_at: datetime | None = None
    fallback: bool | None = None
    verified: bool | None = None


class RunTimingOut(Message):
    """A run is past its time and is being stopped. It is *timed out* only when its container is gone."""

    TYPE = "task.run-timing-out.v1"
    task_id: str
    run_id: UUID
    fence: int
    worker_id: str
    grace: timedelta


class LeaseExpired(Message):
    """A lease ran out. `accepted`: the worker had listed the run; False: the offer was never taken."""

    TYPE = "task.lease-expired.v1"
    task_id: str
    run_id: UUID
    fence: int
    worker_id: str
    accepted: bool


class RunLost(Message):
    """A run was lost with its worker, which nobody hears, or is given up by it: `error` says why, absent: silence.

    `certain` False: it may still be running where nobody hears it. `retry_at` and `fallback`: as of a run that failed.
    """

    TYPE = "task.run-lost.v1"
    task_id: str
    run_id: UUID
    run: int
    fence: int
    certain: bool = False
    error: RunError | None = None
    retry_at: datetime | None = None
    fallback: bool | None = None


class Kept(Value):
    """For so long from now on equal tasks, those of its namespace that have this key, may take the result."""

    key: Sha256
    ttl: timedelta


class CachedFrom(Upstream):
    """The equal task that a result is of, and when it had ended."""

    ended_at: datetime


class TaskSucceeded(Message):
    """A task ended well: by a run of its own, or (`cached_from`) with what an equal one had left. `cache`: its result
    is kept for others; never one that is another's, nor one of a fallback."""

    TYPE = "task.succeeded.v1"
    task_id: str
    runs: int
    exit_code: int | None = None
    result: Json = None
    artifacts: tuple[Artifact, ...] | None = None
    cache: Kept | None = None
    cached_from: CachedFrom | None = None


class TaskFailed(Message):
    """A task ended without success. `verified`: its last container was seen gone. `detail`: what was wrong, where no
    run says it. `result`: of one with `for_each`, how its children ended."""

    TYPE = "task.failed.v1"
    task_id: str
    reason: str
    runs: int
    exit_code: int | None = None
    verified: bool = True
    detail: str | None = None
    result: Json = None


class TaskCancelling(Message):
    """A task was cancelled while a run of it was given away: the run is being stopped."""

    TYPE = "task.cancelling.v1"
    task_id: str
    run_id: UUID
    fence: int
    worker_id: str
    grace: timedelta
    by: str
    reason: str | None = None


class TaskCancelled(Message):
    """A task ended by cancellation. `verified`: nothing of it runs; else `unheard` names the run nobody could ask."""

    TYPE = "task.cancelled.v1"
    task_id: str
    by: str
    reason: str | None = None
    runs: int = 0
    exit_code: int | None = None
    verified: bool = True
    unheard: UUID | None = None


class TaskSkipped(Message):
    """A task ended unrun because a task it needed did not succeed."""

    TYPE = "task.skipped.v1"
    task_id: str
    because: str


class TaskQuarantined(Message):
    """A task ended because its runs were lost, again and again: it may be what takes workers down.

    `reason`: lost, or what kept the last worker from starting it. `verified`: its last container was seen gone.
    """

    TYPE = "task.quarantined.v1"
    task_id: str
    reason: str
    runs: int
    verified: bool = True


class TaskPriorityChanged(Message):
    """A task goes before, or after, others that wait for a slot: from now on with this priority."""

    TYPE = "task.priority-changed.v1"
    task_id: str
    priority: Priority
    was: Priority


class TaskExpired(Message):
    """A task ended because it waited too long: in the queue, until no run of it was to begin any more, or for a task
    that nobody submitted in time, `because`."""

    TYPE = "task.expired.v1"
    task_id: str
    reason: Literal["queue-timeout", "expires-at", "forward-deadline"]
    runs: int = 0
    because: str | None = None


class TaskPaused(Message):
    """A task that waits is not to run before it is resumed, whatever it waits for besides."""

    TYPE = "task.paused.v1"
    task_id: str
    by: str
    reason: str | None = None


class TaskResumed(Message):
    """A task is paused no longer: it waits for what it waited for, or is queued."""

    TYPE = "task.resumed.v1"
    task_id: str
    by: str


class LateResultIgnored(Message):
    """A report came after its lease, or its task, was over: recorded, without power."""

    TYPE = "task.late-result-ignored.v1"
    task_id: str
    run_id: UUID
    fence: int
    report: Literal["run.start.v1", "run.finish.v1"]
    exit_code: int | None = None


class Node(Value):
    """A task of a workflow: its name, its stream, and the names of the tasks it needs."""

    task_id: str
    stream: UUID
    depends_on: tuple[str, ...] = ()


class FormerWorkflow(Value):
    """A workflow that another does once more: the name it was given and its stream."""

    workflow_id: str
    stream: UUID


class WorkflowSubmitted(Message):
    """Tasks that depend on each other were accepted as a whole. `open`: further ones are to come.

    `retry_of`: the finished workflow whose failed tasks, and what depends on them, these are once more.
    """

    TYPE = "workflow.submitted.v1"
    workflow_id: str
    tasks: tuple[Node, ...]
    on_failure: OnFailure = "skip-downstream"
    max_parallel: int | None = None
    retry_of: FormerWorkflow | None = None
    open: bool | None = None


class WorkflowExtended(Message):
    """Further tasks of a workflow were accepted. `open`: still others are to come; absent: these were the last."""

    TYPE = "workflow.extended.v1"
    workflow_id: str
    tasks: tuple[Node, ...]
    open: bool | None = None


class WorkflowCancelled(Message):
    """A workflow was cancelled: each of its tasks that has not ended is being cancelled.

    `because`: the task whose failure did it, under fail-fast.
    """

    TYPE = "workflow.cancelled.v1"
    workflow_id: str
    by: str
    reason: str | None = None
    because: str | None = None


class WorkflowFinished(Message):
    """Every task of a workflow has ended."""

    TYPE = "workflow.finished.v1"
    workflow_id: str
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0
    expired: int = 0
    quarantined: int = 0


class WorkerRegistered(Message):
    """A worker process came up and opened a generation."""

    TYPE = "worker.registered.v1"
    worker_id: str
    generation: int
    instance: UUID
    engine: str
    pool: str
    slots: int
    executors: tuple[str, ...]
    labels: dict[str, str] = {}
    version: str


class WorkerLost(Message):
    """A worker was not heard for a whole lease. `runs`: what it held then."""

    TYPE = "worker.lost.v1"
    worker_id: str
    generation: int
    runs: tuple[UUID, ...] = ()


class WorkerDraining(Message):
    """A worker is given nothing more until it is started; what it runs, it runs to the end."""

    TYPE = "worker.draining.v1"
    worker_id: str
    by: str
    reason: str | None = None


class WorkerServing(Message):
    """A worker that was drained is given tasks again."""

    TYPE = "worker.serving.v1"
    worker_id: str
    by: str


class ScheduleDefined(Message):
    """A schedule was made, or is now another. Paused, it stays so."""

    TYPE = "schedule.defined.v1"
    schedule_id: str
    spec: ScheduleSpec


class SchedulePaused(Message):
    """A schedule fires no more until it is resumed."""

    TYPE = "schedule.paused.v1"
    schedule_id: str
    by: str


class ScheduleResumed(Message):
    """A schedule fires again, from now on."""

    TYPE = "schedule.resumed.v1"
    schedule_id: str
    by: str


class ScheduleDeleted(Message):
    """A schedule is gone. Its tasks stay as they are."""

    TYPE = "schedule.deleted.v1"
    schedule_id: str
    by: str


FiredBy: TypeAlias = Literal["trigger", "backfill"]


class ScheduleFired(Message):
    """A schedule submitted a task for a nominal time: a fact of that time's own stream. `schedule`: its stream.

    `by`: what a person asked for; absent: its time came.
    """

    TYPE = "schedule.fired.v1"
    schedule_id: str
    schedule: UUID
    nominal: datetime
    task_id: UUID
    by: FiredBy | None = None


SkipReason: TypeAlias = Literal["overlap", "paused", "catch-up", "window", "refused"]


class FireSkipped(Message):
    """A schedule did not fire for a nominal time, nor, where `to` is given, for those after it up to and with that one:
    `count` in all, absent when there are more than 500. A person may still have it fire for each of them.

    `reason`: a task of it had not ended (overlap); it was paused; it was missed, and is not made up for by the policy
    (catch-up) or was due too long ago (window); its task was refused, as `detail` says.
    """

    TYPE = "schedule.fire-skipped.v1"
    schedule_id: str
    schedule: UUID
    nominal: datetime
    reason: SkipReason
    to: datetime | None = None
    count: int | None = None
    detail: str | None = None


class LimitChanged(Message):
    """How many tasks of a scope may run at once, and start in a span, from now on; absent: any number.

    `scope`: `namespace:<name>`, `pool:<name>` or `key:<namespace>/<key>`.
    """

    TYPE = "limit.changed.v1"
    scope: str
    max_running: int | None = None
    rate: Rate | None = None
    by: str


class TaskTypeChanged(Message):
    """A task type was registered, or registered anew: `number` counts that. Tasks keep theirs."""

    TYPE = "task-type.changed.v1"
    task_type: str
    number: Annotated[int, Field(ge=1)]
    definition: Definition
    by: str


class TaskTypeRemoved(Message):
    """A task type is no more to be had by new tasks. `number`: of its last version."""

    TYPE = "task-type.removed.v1"
    task_type: str
    number: int
    by: str


TaskEvent: TypeAlias = (
    TaskSubmitted
    | TaskBlocked
    | TaskFilled
    | TaskQueued
    | TaskSpread
    | TaskRecalled
    | RunLeased
    | RunStarted
    | RunSucceeded
    | RunFailed
    | RunTimingOut
    | LeaseExpired
    | RunLost
    | TaskSucceeded
    | TaskFailed
    | TaskCancelling
    | TaskCancelled
    | TaskSkipped
    | TaskExpired
    | TaskQuarantined
    | TaskPriorityChanged
    | TaskPaused
    | TaskResumed
    | LateResultIgnored
)
WorkflowEvent: TypeAlias = WorkflowSubmitted | WorkflowExtended | WorkflowCancelled | WorkflowFinished
WorkerEvent: TypeAlias = WorkerRegistered | WorkerLost | WorkerDraining | WorkerServing
ScheduleEvent: TypeAlias = ScheduleDefined | SchedulePaused | ScheduleResumed | ScheduleDeleted
TaskTypeEvent: TypeAlias = TaskTypeChanged | TaskTypeRemoved
FireEvent: TypeAlias = ScheduleFired | FireSkipped
NotificationEvent: TypeAlias = NotificationSent | NotificationFailed
Event: TypeAlias = (
    TaskEvent
    | WorkflowEvent
    | WorkerEvent
    | ScheduleEvent
    | FireEvent
    | NotificationEvent
    | LimitChanged
    | TaskTypeEvent
)

EVENTS: dict[str, type[Event]] = by_type(
    (
        TaskSubmitted,
        TaskBlocked,
        TaskFilled,
        TaskQueued,
        TaskSpread,
        TaskRecalled,
        RunLeased,
        RunStarted,
        RunSucceeded,
        RunFailed,
        RunTimingOut,
        LeaseExpired,
        RunLost,
        TaskSucceeded,
        TaskFailed,
        TaskCancelling,
        TaskCancelled,
        TaskSkipped,
        TaskExpired,
        TaskQuarantined,
        TaskPriorityChanged,
        TaskPaused,
        TaskResumed,
        LateResultIgnored,
        WorkflowSubmitted,
        WorkflowExtended,
        WorkflowCancelled,
        WorkflowFinished,
        WorkerRegistered,
        WorkerLost,
        WorkerDraining,
        WorkerServing,
        ScheduleDefined,
        SchedulePaused,
        ScheduleResumed,
        ScheduleDeleted,
        ScheduleFired,
        FireSkipped,
        LimitChanged,
        TaskTypeChanged,
        TaskTypeRemoved,
        NotificationSent,
        NotificationFailed,
    )
)
ENDS = frozenset(
    cls.TYPE for cls in (TaskSucceeded, TaskFailed, TaskCancelled, TaskSkipped, TaskExpired, TaskQuarantined)
)


def read_event(type: str, body: bytes) -> Event:
    """The event that a log row or a broker message holds. Raises KeyError for a type unknown here."""
    return EVENTS[type].model_validate_json(body)
