"""Every command that users may publish to `task.commands`: a request, which may be refused."""

from datetime import timedelta
from typing import Annotated, Self, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from domain.messages import Json, Message, Name, Namespace, Ref, Text, by_type
from domain.moments import Moment
from domain.operating import OperatorCommand, SetLimit, StartWorker, StopWorker
from domain.schedule_spec import ScheduleSpec
from domain.specs import OnFailure, Priority, TaskSpec
from domain.type_specs import Definition

MOST_AT_ONCE = 1000
"""Tasks of one message."""


class SubmitTask(TaskSpec, Message):
    """Run one task. `task_id` is the caller's own name for it; without one the platform's id is the name."""

    TYPE = "task.submit.v1"
    namespace: Namespace = "default"

    def spec(self) -> TaskSpec:
        """The task alone, as it would stand in a list of tasks."""
        return TaskSpec.model_construct(**{name: getattr(self, name) for name in TaskSpec.model_fields})


class SubmitTasks(Message):
    """Run many independent tasks: each is accepted or refused on its own."""

    TYPE = "task.submit-tasks.v1"
    namespace: Namespace = "default"
    tasks: Annotated[tuple[TaskSpec, ...], Field(min_length=1, max_length=MOST_AT_ONCE)]


class SubmitWorkflow(Message):
    """Run tasks that depend on each other: accepted or refused as a whole.

    `more`: another message of the same `workflow_id` brings further tasks; the last one says it no longer.
    """

    TYPE = "task.submit-workflow.v1"
    namespace: Namespace = "default"
    workflow_id: Name | None = None
    on_failure: OnFailure = "skip-downstream"
    max_parallel: Annotated[int, Field(ge=1, le=10_000)] | None = None
    more: bool = False
    tasks: Annotated[tuple[TaskSpec, ...], Field(min_length=1, max_length=MOST_AT_ONCE)]

    @model_validator(mode="after")
    def _more_of_what_has_a_name(self) -> Self:
        if self.more and self.workflow_id is None:
            raise ValueError("more needs a workflow_id, by which the next message is known to belong to this workflow")
        return self


class CancelTask(Message):
    """End a task early. `grace` is the time from TERM to KILL; left out, the task's own stop timeout."""

    TYPE = "task.cancel.v1"
    namespace: Namespace = "default"
    task_id: Ref
    reason: Text | None = None
    grace: Annotated[timedelta, Field(ge=timedelta(0), le=timedelta(hours=1))] | None = None


class RetryTask(Message):
    """Run a task that has ended once more, as a new task. `new_task_id`: its name; left out, its id is its name."""

    TYPE = "task.retry.v1"
    namespace: Namespace = "default"
    task_id: Ref
    new_task_id: Name | None = None


class ForkTask(Message):
    """Run a task anew, with changes, from a point of its history; it may have ended or not, and stays as it is.

    `from_version`: the version of its history; left out, its newest. `changes`: a JSON merge patch (RFC 7396) of its
    spec: what is null in it is left out, lists are replaced as a whole. `new_task_id`: as in task.retry.v1.
    """

    TYPE = "task.fork.v1"
    namespace: Namespace = "default"
    task_id: Ref
    from_version: Annotated[int, Field(ge=1, le=2**63 - 1)] | None = None
    new_task_id: Name | None = None
    changes: dict[str, Json] = {}


class SetPriority(Message):
    """Have a task that has not ended go before, or after, others that wait for a slot."""

    TYPE = "task.set-priority.v1"
    namespace: Namespace = "default"
    task_id: Ref
    priority: Priority


class PauseTask(Message):
    """Have a task that waits not run before it is resumed."""

    TYPE = "task.pause.v1"
    namespace: Namespace = "default"
    task_id: Ref
    reason: Text | None = None


class ResumeTask(Message):
    """Have a paused task go on waiting for what it waited for, or run."""

    TYPE = "task.resume.v1"
    namespace: Namespace = "default"
    task_id: Ref


class CancelWorkflow(Message):
    """End every task of a workflow that has not ended."""

    TYPE = "workflow.cancel.v1"
    namespace: Namespace = "default"
    workflow_id: Name
    reason: Text | None = None


class RetryWorkflow(Message):
    """Run a finished workflow once more from its failed tasks, as a new one; what has succeeded is not run again.

    `new_workflow_id`: its name; left out, its id is its name.
    """

    TYPE = "workflow.retry.v1"
    namespace: Namespace = "default"
    workflow_id: Name
    new_workflow_id: Name | None = None


class PutSchedule(ScheduleSpec, Message):
    """Have a task submitted again and again; a schedule of this name becomes this one."""

    TYPE = "schedule.put.v1"
    namespace: Namespace = "default"
    schedule_id: Name

    def spec(self) -> ScheduleSpec:
        """The schedule alone."""
        return ScheduleSpec.model_construct(**{name: getattr(self, name) for name in ScheduleSpec.model_fields})


class PauseSchedule(Message):
    """Have a schedule fire no more until it is resumed."""

    TYPE = "schedule.pause.v1"
    namespace: Namespace = "default"
    schedule_id: Name


class ResumeSchedule(Message):
    """Have a paused schedule fire again."""

    TYPE = "schedule.resume.v1"
    namespace: Namespace = "default"
    schedule_id: Name


class DeleteSchedule(Message):
    """Take a schedule away. Its tasks stay as they are."""

    TYPE = "schedule.delete.v1"
    namespace: Namespace = "default"
    schedule_id: Name


class TriggerSchedule(Message):
    """Have a schedule fire now, whatever runs: for now, or for the time `as_if`, if it has not fired for that."""

    TYPE = "schedule.trigger.v1"
    namespace: Namespace = "default"
    schedule_id: Name
    as_if: Moment | None = None


class BackfillSchedule(Message):
    """Have a schedule fire now, whatever runs, for each of its times in a span that it has not fired for."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)
    TYPE = "schedule.backfill.v1"
    namespace: Namespace = "default"
    schedule_id: Name
    from_: Annotated[Moment, Field(alias="from")]
    to: Moment


class PutTaskType(Definition, Message):
    """Register a task type, or the next version of one. Tasks keep the version that they were submitted with."""

    TYPE = "task-type.put.v1"
    namespace: Namespace = "default"
    task_type: Name

    def definition(self) -> Definition:
        """The type alone, without its name."""
        return Definition.model_construct(**{name: getattr(self, name) for name in Definition.model_fields})


class RemoveTaskType(Message):
    """Let no new task have a type. Tasks that have it are not touched."""

    TYPE = "task-type.remove.v1"
    namespace: Namespace = "default"
    task_type: Name


ChangeTaskType: TypeAlias = PutTaskType | RemoveTaskType
ScheduleCommand: TypeAlias = (
    PutSchedule | PauseSchedule | ResumeSchedule | DeleteSchedule | TriggerSchedule | BackfillSchedule
)
ChangeTask: TypeAlias = CancelTask | PauseTask | ResumeTask | SetPriority
"""What is asked of a task that there is."""
Again: TypeAlias = RetryTask | ForkTask | RetryWorkflow
"""Commands that make a new task, or workflow, of an old one."""
TaskCommand: TypeAlias = SubmitTask | SubmitTasks | SubmitWorkflow | ChangeTask | CancelWorkflow
Plain: TypeAlias = TaskCommand | OperatorCommand | ScheduleCommand | ChangeTaskType
Command: TypeAlias = Plain | Again
COMMANDS: dict[str, type[Message]] = by_type(
    (
        SubmitTask,
        SubmitTasks,
        SubmitWorkflow,
        CancelTask,
        PauseTask,
        ResumeTask,
        SetPriority,
        RetryTask,
        ForkTask,
        CancelWorkflow,
        RetryWorkflow,
        PutSchedule,
        PauseSchedule,
        ResumeSchedule,
        DeleteSchedule,
        TriggerSchedule,
        BackfillSchedule,
        SetLimit,
        PutTaskType,
        RemoveTaskType,
        StopWorker,
        StartWorker,
    )
)
