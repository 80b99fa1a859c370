"""What each command of `task.commands` does: one function a command, on the batch it came in."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from consumers import judging_schedules
from consumers.batches import Batch, Verdict
from consumers.judging_workflows import digest_of, judge_workflow, workflow_verdict
from consumers.promising import claim, needed
from domain import limit, task, task_type, worker, workflow
from domain.commands import (
    CancelTask,
    CancelWorkflow,
    ChangeTask,
    ChangeTaskType,
    PauseTask,
    Plain,
    PutTaskType,
    RemoveTaskType,
    ResumeTask,
    ScheduleCommand,
    SetPriority,
    SubmitTask,
    SubmitTasks,
    SubmitWorkflow,
)
from domain.dependencies import named
from domain.errors import NotFound, Rejected, TaskIdTaken, UnknownDependency, UnknownTaskType
from domain.forwarding import with_deadlines
from domain.ids import spelt
from domain.limit import limit_stream
from domain.messages import Cause
from domain.operating import ChangeWorker, SetLimit, StartWorker, StopWorker
from domain.ports.handling import Named, NameKey
from domain.specs import TaskSpec
from domain.submitting import Again, submit_task
from domain.task_states import Task
from domain.task_type import registered, type_stream
from domain.work import Reply, TaskOutcome
from domain.worker import worker_stream
from domain.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Origin:
    """What a new task is made of, and the digest of what asked for it."""

    of: Again
    digest: bytes


def needs(command: Plain, careful: bool) -> tuple[set[NameKey], set[UUID]]:
    """The names and streams to look up before `command` is judged.

    Not `careful`: a name it takes is believed to be free; the store says so when it is not.
    """
    namespace = command.namespace
    if isinstance(command, ScheduleCommand):
        return set(), judging_schedules.streams(command)
    match command:
        case SubmitTask():
            return names_in(namespace, [command], careful)
        case SubmitTasks(tasks=tasks):
            return names_in(namespace, tasks, careful)
        case SubmitWorkflow(tasks=tasks, workflow_id=workflow_id):
            names, streams = names_in(namespace, tasks, careful)
            if (careful or command.more) and workflow_id is not None:
                names.add(NameKey(namespace, "workflow", workflow_id))
            return names, streams
        case CancelTask() | PauseTask() | ResumeTask() | SetPriority():
            return names_of(namespace, "task", [command.task_id])
        case CancelWorkflow(workflow_id=name):
            return names_of(namespace, "workflow", [name])
        case SetLimit():
            return set(), {limit_stream(command.whole)}
        case StopWorker(worker_id=worker_id) | StartWorker(worker_id=worker_id):
            return set(), {worker_stream(worker_id)}
        case PutTaskType(task_type=name) | RemoveTaskType(task_type=name):
            return set(), {type_stream(namespace, name)}


def judge(batch: Batch, command: Plain, command_id: UUID, cause: Cause) -> Verdict:
    """Decide `command` on `batch`. Raises Rejected, and then has added nothing."""
    if isinstance(command, ScheduleCommand):
        return judging_schedules.judge_schedule(batch, command, command_id, cause)
    match command:
        case SubmitTask():
            stream, name, version = submit(batch, command.namespace, command.spec(), cause)
            return Verdict(accepted_task(command_id, stream, name, version), stream, version)
        case SubmitTasks():
            return _submit_tasks(batch, command, command_id, cause)
        case SubmitWorkflow():
            return judge_workflow(batch, command, command_id, cause)
        case CancelTask() | PauseTask() | ResumeTask() | SetPriority():
            return _change_task(batch, command, command_id, cause)
        case CancelWorkflow():
            return _cancel_workflow(batch, command, command_id, cause)
        case SetLimit():
            return _set_limit(batch, command, command_id, cause)
        case StopWorker() | StartWorker():
            return _change_worker(batch, command, command_id, cause)
        case PutTaskType() | RemoveTaskType():
            return _change_type(batch, command, command_id, cause)


def names_of(namespace: str, kind: str, names: Sequence[str]) -> tuple[set[NameKey], set[UUID]]:
    return {NameKey(namespace, kind, name) for name in names}, {stream for name in names if (stream := spelt(name))}


def names_in(namespace: str, specs: Sequence[TaskSpec], careful: bool) -> tuple[set[NameKey], set[UUID]]:
    own = {spec.task_id for spec in specs if spec.task_id is not None}
    upstream = {name for spec in specs for name in named(spec.depends_on)} - own
    names, streams = names_of(namespace, "task", sorted(upstream | own if careful else upstream))
    return names, streams | {type_stream(namespace, name) for name in registered(specs)}


def submit(
    batch: Batch, namespace: str, spec: TaskSpec, cause: Cause, origin: Origin | None = None
) -> tuple[UUID, str, int | None]:
    """Stream, name and version of the task; version None when the very same submission was accepted before."""
    taken = batch.named(namespace, "task", spec.task_id) if spec.task_id is not None else None
    digest = b"" if spec.task_id is None else origin.digest if origin else digest_of(spec)
    if taken and not taken.promised:
        if taken.digest != digest:
            raise TaskIdTaken(f"task_id: {spec.task_id} names another task in {namespace}; choose another id")
        return taken.stream, spec.task_id or "", None
    stream, of = taken.stream if taken else batch.given.new_id(), origin.of if origin else None
    types = batch.types(namespace, [spec] if of is None or of.typed is None else [])
    upstream = needed(batch, namespace, [spec])
    events = with_deadlines(submit_task(spec, stream, upstream.streams, types, of), upstream.promised, batch.now)
    claim(batch, namespace, upstream, {stream: events}, [stream] if taken else ())
    if spec.task_id is not None:
        batch.claim(NameKey(namespace, "task", spec.task_id), Named(stream, digest))
    return stream, spec.task_id or str(stream), batch.add(stream, namespace, events, cause)


def _submit_tasks(batch: Batch, command: SubmitTasks, command_id: UUID, cause: Cause) -> Verdict:
    outcomes: list[TaskOutcome] = []
    if batch.patient:
        _wait_for_upstream(batch, command)
    for spec in command.tasks:
        try:
            stream, name, _ = submit(batch, command.namespace, spec, cause)
            outcomes.append(TaskOutcome(task_id=name, id=stream, outcome="accepted"))
        except Rejected as rejected:
            outcomes.append(TaskOutcome(task_id=spec.task_id, outcome="rejected", problem=rejected.problem()))
    return Verdict(Reply(command_id=command_id, outcome="accepted", tasks=tuple(outcomes)))


def _wait_for_upstream(batch: Batch, command: SubmitTasks) -> None:
    """Raises UnknownDependency, UnknownTaskType while something is named that nobody has submitted, here or before."""
    known = {spec.task_id for spec in command.tasks} | set(needed(batch, command.namespace, command.tasks).streams)
    for name in (name for spec in command.tasks for name in named(spec.depends_on)):
        if name not in known:
            raise UnknownDependency(f"depends_on: no task {name} in this namespace; submit it first")
    there = batch.types(command.namespace, command.tasks).put or {}
    if missing := sorted(registered(command.tasks) - set(there)):
        raise UnknownTaskType(f"task_type: {missing[0]} is not registered in this namespace; put it first")


def _change_task(batch: Batch, command: ChangeTask, command_id: UUID, cause: Cause) -> Verdict:
    stream, state = task_named(batch, command.namespace, command.task_id)
    events = task.decide(state, task.asked(command, cause.actor), batch.now)
    version = batch.change_task(stream, command.namespace, events, cause)
    return Verdict(accepted_task(command_id, stream, state.task_id, version), stream, version)


def task_named(batch: Batch, namespace: str, name: str) -> tuple[UUID, Task]:
    stream = batch.stream_of(namespace, "task", name)
    state = batch.task(stream)
    if state is None:
        raise NotFound(f"task_id: no task {name} in namespace {namespace}; check id and namespace")
    return stream, state


def workflow_named(batch: Batch, namespace: str, name: str) -> Workflow:
    state = batch.workflow(batch.stream_of(namespace, "workflow", name))
    if state is None:
        raise NotFound(f"workflow_id: no workflow {name} in namespace {namespace}; check id and namespace")
    return state


def _cancel_workflow(batch: Batch, command: CancelWorkflow, command_id: UUID, cause: Cause) -> Verdict:
    state = workflow_named(batch, command.namespace, command.workflow_id)
    events = workflow.decide(state, workflow.Cancel(by=cause.actor, reason=command.reason))
    version = batch.add(state.id, command.namespace, events, cause)
    return workflow_verdict(command_id, state.submitted.workflow_id, state.id, version)


def _set_limit(batch: Batch, command: SetLimit, command_id: UUID, cause: Cause) -> Verdict:
    stream = limit_stream(command.whole)
    wanted = limit.Set(command.whole, command.max_running, command.rate, by=cause.actor)
    version = batch.add(stream, command.namespace, limit.decide(batch.limit(stream), wanted), cause)
    return Verdict(Reply(command_id=command_id, outcome="accepted", id=stream, version=version), stream, version)


def _change_worker(batch: Batch, command: ChangeWorker, command_id: UUID, cause: Cause) -> Verdict:
    stream = worker_stream(command.worker_id)
    state = batch.worker(stream)
    if state is None:
        raise NotFound(f"worker_id: no worker {command.worker_id} has ever registered; look at: tally worker ls")
    version = batch.add(stream, worker.NO_NAMESPACE, worker.change(state, command, cause.actor), cause)
    return Verdict(Reply(command_id=command_id, outcome="accepted", id=stream, version=version), stream, version)


def _change_type(batch: Batch, command: ChangeTaskType, command_id: UUID, cause: Cause) -> Verdict:
    stream = type_stream(command.namespace, command.task_type)
    events = task_type.decide(batch.task_type(stream), task_type.asked(command, cause.actor))
    version = batch.add(stream, command.namespace, events, cause)
    return Verdict(Reply(command_id=command_id, outcome="accepted", id=stream, version=version), stream, version)


def accepted_task(command_id: UUID, stream: UUID, name: str, version: int | None) -> Reply:
    return Reply(
        command_id=command_id,
        outcome="accepted",
        task_id=name,
        id=stream,
        version=version,
        links={"task": f"/v1/tasks/{stream}"},
    )
