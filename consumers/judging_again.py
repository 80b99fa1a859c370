"""What the commands do that make a new task, or workflow, of an old one; every other is `judging`'s."""

import json
from collections.abc import Sequence
from hashlib import sha256
from uuid import UUID

from consumers import judging, judging_schedules
from consumers.batches import Batch, Verdict
from consumers.judging import Origin, accepted_task, names_in, names_of, submit, task_named
from consumers.judging_workflows import workflow_verdict
from consumers.promising import Needed, claim
from domain import events as e
from domain.commands import BackfillSchedule, Command, ForkTask, RetryTask, RetryWorkflow, TriggerSchedule
from domain.errors import Rejected, WorkflowIdTaken
from domain.forking import Fork, forked
from domain.forwarding import with_deadlines
from domain.messages import Cause
from domain.ports.handling import Named, NameKey
from domain.rerunning import Renewed, numbered, renewed, resubmitted, to_rerun
from domain.specs import TaskSpec
from domain.submitting import Again, Whole, once_more
from domain.task_states import Task
from domain.workflow import Workflow


def needs(command: Command, careful: bool) -> tuple[set[NameKey], set[UUID]]:
    """The names and streams to look up before `command` is judged. `careful`: also the name that it takes."""
    match command:
        case (
            RetryTask(namespace=namespace, task_id=name, new_task_id=new)
            | ForkTask(namespace=namespace, task_id=name, new_task_id=new)
        ):
            return names_of(namespace, "task", [name, *([new] if careful and new is not None else [])])
        case RetryWorkflow(namespace=namespace, workflow_id=name, new_workflow_id=new):
            return names_of(namespace, "workflow", [name, *([new] if careful and new is not None else [])])
        case _:
            return judging.needs(command, careful)


def further(command: Command, batch: Batch) -> tuple[set[NameKey], set[UUID]]:
    """What else to look up, now that the first things are known."""
    try:
        match command:
            case ForkTask():
                return names_in(command.namespace, [_forked(batch, command)[0]], careful=False)
            case RetryWorkflow():
                old = _workflow(batch, command)
                names = {name for some in numbered(old) for name in some.values()}
                names |= {name for node in old.tasks for name in node.depends_on} - {node.task_id for node in old.tasks}
                streams = {node.stream for node in old.tasks}
                return {NameKey(command.namespace, "task", name) for name in names}, streams
            case BackfillSchedule() | TriggerSchedule():
                return set(), judging_schedules.further(command, batch.streams)
            case _:
                return set(), set()
    except Rejected:
        return set(), set()  # it is refused when it is judged


def has_further(command: Command) -> bool:
    """Whether there is something else to look up."""
    return isinstance(command, ForkTask | RetryWorkflow | BackfillSchedule | TriggerSchedule)


def judge(batch: Batch, command: Command, command_id: UUID, cause: Cause) -> Verdict:
    """Decide `command` on `batch`. Raises Rejected, and then has added nothing."""
    match command:
        case RetryTask(namespace=namespace):
            old, state = task_named(batch, namespace, command.task_id)
            spec, again = once_more(state, command.new_task_id)
            origin = Origin(again, _digest(old, spec.model_dump_json().encode()))
        case ForkTask(namespace=namespace):
            spec, point = _forked(batch, command)
            asked = json.dumps([command.from_version, command.changes], sort_keys=True).encode()
            origin = Origin(Again(point), _digest(point.stream, asked))
        case RetryWorkflow():
            return _retry_workflow(batch, command, command_id, cause)
        case _:
            return judging.judge(batch, command, command_id, cause)
    stream, name, version = submit(batch, namespace, spec, cause, origin)
    return Verdict(accepted_task(command_id, stream, name, version), stream, version)


def _forked(batch: Batch, command: ForkTask) -> tuple[TaskSpec, e.ForkPoint]:
    stream, state = task_named(batch, command.namespace, command.task_id)
    fork = Fork(command.from_version, command.new_task_id, command.changes)
    spec, version = forked(batch.history(stream), fork, batch.now)
    return spec, e.ForkPoint(task_id=state.task_id, stream=stream, version=version)


def _retry_workflow(batch: Batch, command: RetryWorkflow, command_id: UUID, cause: Cause) -> Verdict:
    namespace, old, stream = command.namespace, _workflow(batch, command), batch.given.new_id()
    name, digest = command.new_workflow_id or str(stream), _digest(old.id, b"retry")
    if taken := batch.named(namespace, "workflow", name):
        if taken.digest != digest:
            raise WorkflowIdTaken(f"new_workflow_id: {name} names another workflow in {namespace}; choose another id")
        return workflow_verdict(command_id, name, taken.stream, None)
    tasks = [(task, batch.given.new_id()) for task in to_rerun(old, _members(batch, old))]
    again = renewed(old, tasks, lambda new: batch.named(namespace, "task", new) is not None)
    whole = Whole(name, stream, old.submitted.on_failure, old.submitted.max_parallel)
    submitted, firsts = resubmitted(old, again, whole, batch.now)
    promised = _promised(batch, namespace, again)
    firsts = {stream: with_deadlines(events, promised, batch.now) for stream, events in firsts.items()}
    claim(batch, namespace, Needed({}, promised), firsts, ())
    if command.new_workflow_id is not None:
        batch.claim(NameKey(namespace, "workflow", name), Named(stream, digest))
    for one in again:
        if one.name is not None:
            batch.claim(NameKey(namespace, "task", one.name), Named(one.stream, _digest(one.old.id, b"retry")))
    version = batch.add(stream, namespace, [submitted], cause)
    for task_stream, events in firsts.items():
        batch.add(task_stream, namespace, events, cause)
    return workflow_verdict(command_id, name, stream, version)


def _promised(batch: Batch, namespace: str, again: Sequence[Renewed]) -> dict[str, UUID]:
    """What the new tasks wait for as the old ones did, and nobody has submitted yet."""
    needs = {need.task_id: need.stream for one in again for need in one.old.facts.submitted.depends_on}
    there = {name: batch.named(namespace, "task", name) for name in needs}
    return {name: stream for name, stream in needs.items() if (one := there[name]) and one.promised}


def _workflow(batch: Batch, command: RetryWorkflow) -> Workflow:
    return judging.workflow_named(batch, command.namespace, command.workflow_id)


def _members(batch: Batch, old: Workflow) -> dict[UUID, Task]:
    found = {node.stream: batch.task(node.stream) for node in old.tasks}
    return {stream: state for stream, state in found.items() if state is not None}


def _digest(old: UUID, asked: bytes) -> bytes:
    return sha256(old.bytes + asked).digest()
