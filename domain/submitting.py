"""A submission: one task, or the tasks of a workflow, into their first events. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from domain import events as e
from domain.caching import check_image
from domain.commands import SubmitTask, SubmitTasks, SubmitWorkflow
from domain.dependencies import carrying_on, check_fail_fast, check_graph, check_to_come, named
from domain.errors import (
    BadState,
    BadTemplate,
    DuplicateTaskId,
    Rejected,
    SelfDependency,
    TaskIdTaken,
    TemplateNotADependency,
    UnknownDependency,
)
from domain.filling import Work, fill, names_read
from domain.ids import derived_id
from domain.runs import queued_as
from domain.specs import AtLeast, DependsOn, OnFailure, TaskSpec
from domain.spreading import begun, count, reads
from domain.task_states import Ended, Task
from domain.task_type import ANY_IMAGE, Typed, Types, check_filled, kept, typed

MOST_READ = 64
"""Tasks that the templates of one task may read."""


@dataclass(frozen=True, slots=True)
class Again:
    """The task that a new one does once more, what its templates became, and its type as it was then; or the point that
    it is forked from."""

    of: e.Upstream
    filled: Work | None = None
    typed: Typed | None = None


def submit_task(
    spec: TaskSpec,
    stream: UUID,
    upstream: Mapping[str, UUID],
    types: Types,
    origin: Again | None = None,
) -> list[e.TaskEvent]:
    """The first events of a task alone. `upstream`: the streams of the tasks that its dependencies name. `origin`: the
    task that it does once more, or the point that it is forked from.

    Raises SelfDependency, UnknownDependency, DuplicateTaskId, UnknownTaskType, BadInput, BadTemplate,
    TemplateNotADependency, Unfilled, CacheNeedsDigest.
    """
    one = origin.typed if origin and origin.typed else typed(spec, types)
    name = spec.task_id or str(stream)
    if name in named(spec.depends_on):
        raise SelfDependency(f"depends_on: {name} depends on itself; remove {name} from its own depends_on")
    submitted, *rest = _first_events(one, stream, upstream)
    if origin is None:
        return [_with_templates(submitted), *rest]
    if isinstance(origin.of, e.ForkPoint):
        return [_with_templates(submitted.model_copy(update={"forked_from": origin.of})), *rest]
    return [submitted.model_copy(update={"retry_of": origin.of, "filled": origin.filled}), *rest]


def once_more(task: Task, name: str | None) -> tuple[TaskSpec, Again]:
    """An ended task as a new one, which is called `name`, waits for nothing and belongs to no workflow.

    Raises BadState, TaskIdTaken.
    """
    if not isinstance(task, Ended):
        raise BadState(f"task {task.task_id} has not ended: cancel it first, or wait for its end")
    if name == task.task_id:
        raise TaskIdTaken(f"new_task_id: {name} is the task that has ended; choose another id, or leave it out")
    submitted, filled = task.facts.submitted, task.facts.filled
    if submitted.reads and submitted.spec.for_each is not None:
        raise BadState(
            f"task {task.task_id} reads its items of a task that a new one would not depend on; fork it: the new task "
            "depends on the same, and has the same items"
        )
    parent = submitted.child_of
    if parent is not None and submitted.filled is None and names_read(submitted.work, each=True) is not None:
        raise BadState(f"task {task.task_id} cannot be filled with its item; run {parent.task_id} again")
    if submitted.reads and filled is None:
        raise BadState(
            f"task {task.task_id} has ended before its templates were filled, and a new one would wait for nothing; "
            "submit it again, with what it depends on"
        )
    spec = submitted.spec
    apart = {"task_id": name, "depends_on": (), "not_before": None, "expires_at": None}
    anywhere = spec.requires.model_copy(update={"same_worker_as": None})
    new = spec.model_copy(update={**apart, "requires": anywhere, "priority": task.priority})
    # What is filled was checked; children are filled anew.
    one = kept(submitted, new) if spec.for_each else replace(kept(submitted, new), schema=None)
    return new, Again(e.Upstream(task_id=task.task_id, stream=task.id), filled or submitted.filled, one)


@dataclass(frozen=True, slots=True)
class Whole:
    """A workflow to be: its name, its stream, and what holds for all of its tasks. `max_parallel`: so many at once.
    `earlier`: what its tasks of earlier messages are called. `to_come`: names that nobody has, and that its tasks of
    later messages may have."""

    workflow_id: str
    stream: UUID
    on_failure: OnFailure = "skip-downstream"
    max_parallel: int | None = None
    earlier: Collection[str] = ()
    to_come: Collection[str] = ()


def submit_workflow(
    workflow: Whole, tasks: Sequence[tuple[TaskSpec, UUID]], upstream: Mapping[str, UUID], types: Types
) -> tuple[e.WorkflowSubmitted, dict[UUID, list[e.TaskEvent]]]:
    """The workflow's first event and those of its tasks, by stream.

    `tasks`: each with the stream it will have; `upstream`: streams of tasks outside this workflow. Raises as
    `submit_task`, and DependencyCycle, FailFastCondition, ForwardCondition.
    """
    names = [spec.task_id or str(stream) for spec, stream in tasks]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DuplicateTaskId(f"tasks: {twice} is given twice; each task of a workflow needs its own task_id")
    needs = {name: named(spec.depends_on) for name, (spec, _) in zip(names, tasks, strict=True)}
    check_graph(needs)
    members = {*needs, *workflow.earlier}
    specs = dict(zip(names, (spec for spec, _ in tasks), strict=True))
    check_to_come(specs, workflow.on_failure, workflow.to_come)
    if workflow.on_failure == "fail-fast":
        check_fail_fast(specs, members)
    if workflow.on_failure == "continue":
        tasks = [(carrying_on(spec, members), stream) for spec, stream in tasks]
    streams = {**upstream, **dict(zip(names, (stream for _, stream in tasks), strict=True))}
    events: dict[UUID, list[e.TaskEvent]] = {}
    for spec, stream in tasks:
        task_submitted, *rest = _first_events(types.of(spec, stream), stream, streams, workflow)
        events[stream] = [_with_templates(task_submitted), *rest]
    nodes = tuple(e.Node(task_id=name, stream=streams[name], depends_on=tuple(needs[name])) for name in names)
    submitted = e.WorkflowSubmitted(
        workflow_id=workflow.workflow_id,
        tasks=nodes,
        on_failure=workflow.on_failure,
        max_parallel=workflow.max_parallel,
    )
    return submitted, events


def check(command: SubmitTask | SubmitTasks | SubmitWorkflow, earlier: Collection[str] = ()) -> None:
    """Raises what the platform would refuse it for, as far as that can be told without what was submitted before.
    `earlier`: tasks of the same workflow in messages that are checked already."""
    specs = [command.spec()] if isinstance(command, SubmitTask) else command.tasks
    streams = {name: derived_id(UUID(int=0), name) for spec in specs for name in named(spec.depends_on)}
    tasks = [(spec, derived_id(UUID(int=1), str(number))) for number, spec in enumerate(specs)]
    types = Types(ANY_IMAGE, put=None)
    if isinstance(command, SubmitWorkflow):
        whole = Whole(command.workflow_id or "", UUID(int=0), command.on_failure, earlier=earlier)
        submit_workflow(whole, tasks, streams, types)
        return
    for spec, stream in tasks:
        submit_task(spec, stream, streams, types)


def _first_events(
    one: Typed,
    stream: UUID,
    streams: Mapping[str, UUID],
    workflow: Whole | None = None,
) -> tuple[e.TaskSubmitted, e.TaskEvent]:
    spec = one.spec
    name = spec.task_id or str(stream)
    needs = named(spec.depends_on)
    if unknown := [need for need in needs if need not in streams]:
        raise UnknownDependency(
            f"depends_on: no task {unknown[0]} in this namespace; submit it first, or with this one"
        )
    _check_one_name_each(needs, streams)
    _check_cache(one, name)
    submitted = e.TaskSubmitted(
        task_id=name,
        spec=spec,
        container=one.container,
        depends_on=tuple(e.Upstream(task_id=need, stream=streams[need]) for need in needs),
        workflow_id=workflow.workflow_id if workflow else None,
        workflow=workflow.stream if workflow else None,
        max_parallel=workflow.max_parallel if workflow else None,
        task_type_version=one.number,
        input_schema=one.schema,
    )
    submitted = submitted if spec.for_each is None else _with_reads(submitted)
    early = [e.BlockerTime(until=spec.not_before)] if spec.not_before else []
    if by := [*map(_blocker, dict.fromkeys(spec.depends_on)), *early]:
        return submitted, e.TaskBlocked(task_id=name, by=tuple(by))
    return submitted, queued_as(submitted) if spec.for_each is None else begun(submitted, count(submitted))


def _check_cache(one: Typed, name: str) -> None:
    for_each = one.spec.for_each
    job, within = (one.spec, "") if for_each is None else (for_each.task, "for_each.task.")
    if job.cache is not None and job.executor != "noop" and (container := job.container or one.container):
        check_image(container, f"{within}container.image", name)


def _with_reads(submitted: e.TaskSubmitted) -> e.TaskSubmitted:
    """A task with `for_each`, with the tasks that its items and its children's templates read."""
    try:
        names = reads(submitted)
    except Rejected as rejected:
        raise type(rejected)(f"{rejected.detail} (task {submitted.task_id})") from None
    _check_reads(submitted, names)
    return submitted.model_copy(update={"reads": names or None})


def _with_templates(submitted: e.TaskSubmitted) -> e.TaskSubmitted:
    """With the tasks that its templates read; filled at once if they read none."""
    try:
        names = names_read(submitted.work) if submitted.spec.for_each is None else None
        if names is None:
            return submitted
        if not names:
            filled = fill(submitted.work, {})
            check_filled(submitted, filled)
            return submitted.model_copy(update={"filled": filled, "input_schema": None})
    except Rejected as rejected:
        raise type(rejected)(f"{rejected.detail} (task {submitted.task_id})") from None
    _check_reads(submitted, names)
    return submitted.model_copy(update={"reads": names})


def _check_reads(submitted: e.TaskSubmitted, names: Sequence[str]) -> None:
    needed = {one.task_id for one in submitted.depends_on}
    if strange := [name for name in names if name not in needed]:
        raise TemplateNotADependency(
            f"depends_on: a template of task {submitted.task_id} reads task {strange[0]}; add {strange[0]} to its "
            "depends_on, or take the template out"
        )
    if len(names) > MOST_READ:
        raise BadTemplate(
            f"the templates of task {submitted.task_id} read {len(names)} tasks and may read {MOST_READ}; let some "
            "tasks between gather a part of them"
        )


def _check_one_name_each(needs: Sequence[str], streams: Mapping[str, UUID]) -> None:
    """A task has a name and an id: needed under both, it would count twice and end once."""
    seen: dict[UUID, str] = {}
    for need in needs:
        if (other := seen.setdefault(streams[need], need)) != need:
            raise DuplicateTaskId(f"depends_on: {other} and {need} are the same task; name it once")


def _blocker(need: DependsOn | AtLeast) -> e.Blocker | e.BlockerSet:
    match need:
        case DependsOn(task_id=name, condition=when):
            return e.Blocker(task_id=name, needs=when)
        case AtLeast(at_least=at_least, of=of):
            return e.BlockerSet(
                at_least=at_least, of=tuple(e.Blocker(task_id=one.task_id, needs=one.condition) for one in of)
            )
