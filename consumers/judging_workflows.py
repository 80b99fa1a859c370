"""The submission of a workflow, in one message or in several."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from uuid import UUID

from consumers.batches import Batch, Verdict
from consumers.promising import claim, needed
from domain import events as e
from domain import workflow
from domain.commands import SubmitWorkflow
from domain.errors import BadState, TaskIdTaken, WorkflowIdTaken
from domain.forwarding import with_deadlines
from domain.messages import Cause
from domain.ports.handling import Named, NameKey
from domain.specs import TaskSpec
from domain.submitting import Whole, submit_workflow
from domain.work import Reply
from domain.workflow import Extend, Workflow


def judge_workflow(batch: Batch, command: SubmitWorkflow, command_id: UUID, cause: Cause) -> Verdict:
    """Accept a message as a whole: as a workflow, as the first part of one, or as what goes on with one."""
    namespace, stream = command.namespace, batch.given.new_id()
    name, digest = command.workflow_id or str(stream), digest_of(command)
    taken = batch.named(namespace, "workflow", name)
    if taken is None:
        submitted, firsts = _tasks(batch, command, Whole(name, stream, command.on_failure, command.max_parallel))
        if command.workflow_id is not None:
            batch.claim(NameKey(namespace, "workflow", name), Named(stream, digest))
        changes: Sequence[e.WorkflowEvent] = [submitted.model_copy(update={"open": command.more or None})]
    else:
        stream, before = taken.stream, batch.workflow(taken.stream)
        if taken.digest == digest:
            return workflow_verdict(command_id, name, stream, None)
        before = _going_on(before, command, name)
        if _has_all(batch, before, command):
            changes, firsts = workflow.decide(before, Extend((), more=False)) if _closes(before, command) else [], {}
        else:
            workflow.check_room(before, len(command.tasks))
            submitted, firsts = _tasks(batch, command, _whole(before), before)
            changes = workflow.decide(before, Extend(submitted.tasks, command.more))
    version = batch.add(stream, namespace, changes, cause) if changes else None
    for task_stream, events in firsts.items():
        batch.add(task_stream, namespace, events, cause)
    return workflow_verdict(command_id, name, stream, version)


def _tasks(
    batch: Batch, command: SubmitWorkflow, whole: Whole, before: Workflow | None = None
) -> tuple[e.WorkflowSubmitted, dict[UUID, list[e.TaskEvent]]]:
    """The nodes and first events of a message's tasks, whose names are then claimed."""
    namespace, specs = command.namespace, command.tasks
    promised = _free_names(batch, namespace, specs)
    upstream = needed(batch, namespace, specs, {spec.task_id for spec in specs})
    if command.more:
        whole = replace(whole, to_come=upstream.promised)
    if before is not None:
        own = {node.stream for node in before.tasks}
        whole = replace(whole, earlier={name for name, stream in upstream.streams.items() if stream in own})
    tasks = [(spec, promised.get(spec.task_id or "") or batch.given.new_id()) for spec in specs]
    submitted, firsts = submit_workflow(whole, tasks, upstream.streams, batch.types(namespace, specs))
    firsts = {stream: with_deadlines(events, upstream.promised, batch.now) for stream, events in firsts.items()}
    claim(batch, namespace, upstream, firsts, promised.values())
    for spec, (_, stream) in zip(command.tasks, tasks, strict=True):
        if spec.task_id is not None:
            batch.claim(NameKey(namespace, "task", spec.task_id), Named(stream, digest_of(spec)))
    return submitted, firsts


def _going_on(before: Workflow | None, command: SubmitWorkflow, name: str) -> Workflow:
    """The workflow of that name, if it was begun as one of several messages. Raises WorkflowIdTaken, BadState."""
    if before is None or not before.submitted.open:
        raise WorkflowIdTaken(f"workflow_id: {name} names another workflow in {command.namespace}; choose another id")
    for field in ("on_failure", "max_parallel"):
        begun = getattr(before.submitted, field)
        if field in command.model_fields_set and getattr(command, field) != begun:
            raise BadState(f"{field}: workflow {name} was begun with {begun}; give the same, or leave it out")
    return before


def _whole(before: Workflow) -> Whole:
    begun = before.submitted
    return Whole(begun.workflow_id, before.id, begun.on_failure, begun.max_parallel)


def _has_all(batch: Batch, before: Workflow, command: SubmitWorkflow) -> bool:
    """Whether all that a message brings is in the workflow already."""
    streams = {node.stream for node in before.tasks}
    there = (batch.named(command.namespace, "task", spec.task_id or "") for spec in command.tasks)
    return all(
        one is not None and one.stream in streams and one.digest == digest_of(spec)
        for one, spec in zip(there, command.tasks, strict=True)
    )


def _closes(before: Workflow, command: SubmitWorkflow) -> bool:
    return before.open and not command.more


def _free_names(batch: Batch, namespace: str, specs: Sequence[TaskSpec]) -> dict[str, UUID]:
    """The streams of those names of `specs` that are promised. Raises TaskIdTaken if one is taken."""
    promised: dict[str, UUID] = {}
    for name in (spec.task_id for spec in specs if spec.task_id is not None):
        if taken := batch.named(namespace, "task", name):
            if not taken.promised:
                raise TaskIdTaken(f"task_id: {name} names another task in {namespace}; choose another id")
            promised[name] = taken.stream
    return promised


def workflow_verdict(command_id: UUID, name: str, stream: UUID, version: int | None) -> Verdict:
    """That a command about a workflow is accepted."""
    reply = Reply(
        command_id=command_id,
        outcome="accepted",
        workflow_id=name,
        id=stream,
        version=version,
        links={"workflow": f"/v1/workflows/{stream}"},
    )
    return Verdict(reply, stream, version)


def digest_of(submission: TaskSpec | SubmitWorkflow) -> bytes:
    """What tells one submission under a name from another."""
    return sha256(submission.model_dump_json().encode()).digest()
