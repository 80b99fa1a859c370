"""What is recorded of a task before it runs, and while it waits."""

from datetime import datetime, timedelta
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from domain.filling import Work, work_of
from domain.messages import Json, Message, Value
from domain.placing import Cache, Concurrency
from domain.specs import Container, Priority, TaskSpec, Timeouts, When


class Upstream(Value):
    """A task that came before this one: the name it was given and its stream."""

    task_id: str
    stream: UUID


class ForkPoint(Upstream):
    """The task that another was made of, as it stood at a version of its history."""

    version: int


class ChildOf(Upstream):
    """The task whose `for_each` made this one, the item that this one is for, and its place. `max_parallel`: of its
    children. `workflow`: of that task, if it limits how many run at once. `again`: that task does another once more."""

    index: int
    item: Json = None
    max_parallel: int | None = None
    workflow: UUID | None = None
    again: bool | None = None


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
    being cancelled. It ends when they have. `grace`: what each of them has to end; absent: its own stop timeout."""

    TYPE = "task.recalled.v1"
    task_id: str
    by: str
    reason: str | None = None
    grace: timedelta | None = None


class TaskPriorityChanged(Message):
    """A task goes before, or after, others that wait for a slot: from now on with this priority."""

    TYPE = "task.priority-changed.v1"
    task_id: str
    priority: Priority
    was: Priority


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
