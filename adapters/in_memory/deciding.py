"""What a platform in memory decides: commands become events by the domain's own rules, and tasks run at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from adapters.in_memory import children
from adapters.in_memory.endings import Ending, run
from adapters.in_memory.event_log import MemoryLog
from adapters.in_memory.operating import Operations
from adapters.in_memory.results import reuse
from adapters.in_memory.schedules import Schedules
from domain import events as e
from domain import task, task_type
from domain.commands import (
    CancelTask,
    CancelWorkflow,
    Command,
    ForkTask,
    PauseTask,
    PutTaskType,
    RemoveTaskType,
    ResumeTask,
    RetryTask,
    RetryWorkflow,
    ScheduleCommand,
    SetPriority,
    SubmitTask,
    SubmitTasks,
    SubmitWorkflow,
)
from domain.dependencies import requirements, settle, standing
from domain.errors import NotFound, Rejected, TaskIdTaken
from domain.folding import task_of, task_type_of, workflow_of
from domain.forking import Fork, forked
from domain.forwarding import forwards, with_deadlines
from domain.ids import child_of, child_stream
from domain.messages import Cause, is_uuid
from domain.operating import OperatorCommand
from domain.ports.log import NewId
from domain.recorded import new_events
from domain.rerunning import renewed, resubmitted, to_rerun
from domain.specs import TaskSpec
from domain.submitting import Again, Whole, once_more, submit_task, submit_workflow
from domain.task_states import Blocked, Delayed, Ended, Held, Queued, Recalled, Spread, Task
from domain.task_type import TaskType, Types, type_stream
from domain.work import Reply, TaskOutcome
from domain.workflow import Cancel as CancelWhole
from domain.workflow import Extend, Finish, Workflow, due
from domain.workflow import decide as decide_workflow

GRANT = task.Grant("memory", 1, 1, timedelta(0))


@dataclass(frozen=True, slots=True)
class Decisions:
    """`endings`: by task id, for those that do not just succeed; None: it runs on until it is cancelled."""

    log: MemoryLog
    new_id: NewId
    endings: Mapping[str, Ending | None]
    names: dict[tuple[str, str], UUID] = field(default_factory=dict[tuple[str, str], UUID])

    def decide(self, command: Command, command_id: UUID, cause: Cause) -> Reply:
        """Record what follows from the command; tells of a refusal."""
        try:
            return self._decide(command, command_id, cause)
        except Rejected as rejected:
            return Reply(command_id=command_id, outcome="rejected", problem=rejected.problem())

    def advance(self, cause: Cause) -> bool:
        """Take each task one step on; False when none can go on by itself."""
        streams = dict.fromkeys(event.stream for event in self.log.events)
        return sum(self._step(stream, cause) for stream in streams) > 0

    def _decide(self, command: Command, command_id: UUID, cause: Cause) -> Reply:
        accepted = Reply(command_id=command_id, outcome="accepted")
        if isinstance(command, ScheduleCommand):
            return Schedules(self.log, self._append, self._types).decide(command, accepted, cause)
        if isinstance(command, OperatorCommand):
            return Operations(self.log, self._append).decide(command, accepted, cause)
        match command:
            case SubmitTask():
                stream = self._submit(command.spec(), command.namespace, cause)
                return accepted.model_copy(update={"task_id": command.task_id or str(stream), "id": stream})
            case SubmitTasks(tasks=specs):
                outcomes = tuple(self._outcome(spec, command.namespace, cause) for spec in specs)
                return accepted.model_copy(update={"tasks": outcomes})
            case SubmitWorkflow():
                return accepted.model_copy(update=self._submit_workflow(command, cause))
            case CancelTask() | PauseTask() | ResumeTask() | SetPriority():
                stream = self._named(command.namespace, command.task_id)
                self._change(stream, task.asked(command, cause.actor), cause)
                return accepted.model_copy(update={"task_id": command.task_id, "id": stream})
            case RetryTask():
                old = self._named(command.namespace, command.task_id)
                state = self._task(old)
                spec, again = once_more(state, command.new_task_id)
                stream = self._submit(spec, command.namespace, cause, again)
                return accepted.model_copy(update={"task_id": spec.task_id or str(stream), "id": stream})
            case ForkTask():
                old = self._named(command.namespace, command.task_id)
                fork = Fork(command.from_version, command.new_task_id, command.changes)
                history = [recorded.event() for recorded in self.log.load([old])[old]]
                spec, version = forked(history, fork, self.log.clock.now())
                point = e.ForkPoint(task_id=self._task(old).task_id, stream=old, version=version)
                stream = self._submit(spec, command.namespace, cause, Again(point))
                return accepted.model_copy(update={"task_id": spec.task_id or str(stream), "id": stream})
            case RetryWorkflow():
                return accepted.model_copy(update=self._retry_workflow(command, cause))
            case PutTaskType() | RemoveTaskType():
                stream = type_stream(command.namespace, command.task_type)
                events = task_type.decide(self._type(stream), task_type.asked(command, cause.actor))
                self._append(stream, events, command.namespace, cause)
                return accepted.model_copy(update={"id": stream})
            case CancelWorkflow(workflow_id=workflow_id):
                whole = self._workflow(command.namespace, workflow_id)
                stream = whole.id
                self._change_workflow(whole, CancelWhole(cause.actor, command.reason), cause)
                return accepted.model_copy(update={"workflow_id": workflow_id, "id": stream})

    def _outcome(self, spec: TaskSpec, namespace: str, cause: Cause) -> TaskOutcome:
        try:
            stream = self._submit(spec, namespace, cause)
        except Rejected as rejected:
            return TaskOutcome(task_id=spec.task_id, outcome="rejected", problem=rejected.problem())
        return TaskOutcome(task_id=spec.task_id or str(stream), id=stream, outcome="accepted")

    def _submit(self, spec: TaskSpec, namespace: str, cause: Cause, again: Again | None = None) -> UUID:
        stream, upstream = self._stream(namespace, spec), self._upstream(namespace, [spec])
        events = submit_task(spec, stream, upstream, self._types(namespace, [spec]), again)
        self._claim(namespace, spec.task_id or str(stream), stream)
        self._append(stream, self._promise(namespace, events, upstream), namespace, cause)
        return stream

    def _types(self, namespace: str, specs: Sequence[TaskSpec]) -> Types:
        names = {name for spec in specs if (name := task_type.type_of(spec)) is not None}
        found = {name: self._type(type_stream(namespace, name)) for name in names}
        return Types("base", {name: one for name, one in found.items() if one is not None})

    def _type(self, stream: UUID) -> TaskType | None:
        return task_type_of(self.log.load([stream]).get(stream, ()))

    def _submit_workflow(self, command: SubmitWorkflow, cause: Cause) -> dict[str, object]:
        stream, namespace = self.new_id(), command.namespace
        name = command.workflow_id or str(stream)
        before = self.names.get((namespace, f"workflow {name}")) if command.workflow_id else None
        tasks = [(spec, self._stream(namespace, spec)) for spec in command.tasks]
        upstream = self._upstream(namespace, command.tasks)
        whole = Whole(name, stream, command.on_failure, command.max_parallel)
        if before is not None:
            whole = self._going_on(before)
        first, rest = submit_workflow(whole, tasks, upstream, self._types(namespace, command.tasks))
        if before is None:
            self._claim(namespace, f"workflow {name}", stream)
        for spec, one in tasks:
            self._claim(namespace, spec.task_id or str(one), one)
        if before is None:
            self._append(stream, [first.model_copy(update={"open": command.more or None})], namespace, cause)
        else:
            stream = before
            state = workflow_of(self.log.load([stream])[stream])
            self._append(stream, decide_workflow(state, Extend(first.tasks, command.more)), namespace, cause)
        for one, events in rest.items():
            self._append(one, self._promise(namespace, events, upstream), namespace, cause)
        return {"workflow_id": name, "id": stream}

    def _going_on(self, stream: UUID) -> Whole:
        before = workflow_of(self.log.load([stream])[stream])
        begun, earlier = before.submitted, {node.task_id for node in before.tasks}
        return Whole(begun.workflow_id, stream, begun.on_failure, begun.max_parallel, earlier)

    def _retry_workflow(self, command: RetryWorkflow, cause: Cause) -> dict[str, object]:
        stream, namespace = self.new_id(), command.namespace
        old = self._workflow(namespace, command.workflow_id)
        name = command.new_workflow_id or str(stream)
        states = to_rerun(old, {node.stream: self._task(node.stream) for node in old.tasks})
        again = renewed(old, [(one, self.new_id()) for one in states], lambda new: (namespace, new) in self.names)
        whole = Whole(name, stream, old.submitted.on_failure, old.submitted.max_parallel)
        first, rest = resubmitted(old, again, whole, self.log.clock.now())
        self._claim(namespace, f"workflow {name}", stream)
        for one in again:
            self._claim(namespace, one.name or str(one.stream), one.stream)
        self._append(stream, [first], namespace, cause)
        upstream = {need.task_id: need.stream for one in again for need in one.old.facts.submitted.depends_on}
        for task_stream, events in rest.items():
            self._append(task_stream, self._promise(namespace, events, upstream), namespace, cause)
        return {"workflow_id": name, "id": stream}

    def _step(self, stream: UUID, cause: Cause) -> bool:
        events = self.log.load([stream])[stream]
        if events[0].type.startswith("workflow."):
            return self._step_workflow(workflow_of(events), cause)
        if not events[0].type.startswith("task."):
            return False
        state = task_of(events)
        if isinstance(state, Spread | Recalled):
            return self._spread(state, cause)
        return (decision := self._next(state)) is not None and self._change(stream, decision, cause)

    def _spread(self, state: Spread | Recalled, cause: Cause) -> bool:
        namespace = self.log.load([state.id])[state.id][0].namespace
        if new := children.to_come(self.log, state):
            return sum(self._append(stream, events, namespace, cause) for stream, events in new.items()) > 0
        decided = children.following(self.log, state)
        return sum(self._change(stream, decision, cause) for stream, decision in decided.items()) > 0

    def _step_workflow(self, state: Workflow, cause: Cause) -> bool:
        states = {node.task_id: self._task(node.stream) for node in state.tasks}
        ends = {name: one.status for name, one in states.items() if isinstance(one, Ended)}
        decision = due(state, ends)
        return decision is not None and self._change_workflow(state, decision, cause)

    def _change_workflow(self, state: Workflow, decision: CancelWhole | Finish, cause: Cause) -> bool:
        namespace = self.log.load([state.id])[state.id][0].namespace
        changed = self._append(state.id, decide_workflow(state, decision), namespace, cause)
        if isinstance(decision, CancelWhole):
            cancel = task.Cancel(decision.by, decision.reason)
            for node in state.tasks:
                if not isinstance(self._task(node.stream), Ended):
                    self._change(node.stream, cancel, cause)
        return changed

    def _next(self, state: Task) -> task.Decision | None:
        facts = state.facts
        match state:
            case Blocked():
                return self._freed(facts.submitted)
            case Queued():
                return reuse(self.log, state) or GRANT
            case Delayed():
                return task.Wake(facts.fence)
            case Held():
                return run(state, self.endings.get(facts.submitted.task_id, Ending()))
            case _:
                return None

    def _freed(self, submitted: e.TaskSubmitted) -> task.Free | task.Skip | None:
        there = [need for need in submitted.depends_on if self.log.load([need.stream])]
        states = {need.task_id: self._task(need.stream) for need in there}
        ends = {name: state.status for name, state in states.items() if isinstance(state, Ended)}
        fate = settle([standing(one, ends) for one in requirements(submitted.spec.depends_on)])
        if not submitted.reads or not isinstance(fate, task.Free):
            return fate
        return task.Free(children.ends_before(self.log, submitted))

    def _change(self, stream: UUID, decision: task.Decision, cause: Cause) -> bool:
        events = task.decide(self._task(stream), decision, self.log.clock.now())
        return self._append(stream, events, self.log.load([stream])[stream][0].namespace, cause)

    def _append(self, stream: UUID, events: Sequence[e.Event], namespace: str, cause: Cause) -> bool:
        head = len(self.log.load([stream]).get(stream, ()))
        self.log.append(new_events(stream, head, namespace, events, cause))
        return bool(events)

    def _task(self, stream: UUID) -> Task:
        return task_of(self.log.load([stream])[stream])

    def _workflow(self, namespace: str, name: str) -> Workflow:
        stream = self.names.get((namespace, f"workflow {name}")) or is_uuid(name)
        rows = self.log.load([stream]).get(stream) if stream else None
        if not rows:
            raise NotFound(f"workflow_id: no workflow {name} in namespace {namespace}; check id and namespace")
        return workflow_of(rows)

    def _claim(self, namespace: str, name: str, stream: UUID) -> None:
        if self.names.get((namespace, name), stream) != stream or self.log.load([stream]):
            raise TaskIdTaken(f"task_id: {name} names another task in {namespace}; choose another id")
        self.names[namespace, name] = stream

    def _named(self, namespace: str, name: str) -> UUID:
        stream = self.names.get((namespace, name)) or is_uuid(name)
        if child := child_of(name):
            stream = child_stream(self._named(namespace, child[0]), child[1])
        if stream is None or not self.log.load([stream]):
            raise NotFound(f"task_id: no {name} in namespace {namespace}; check the id and the namespace")
        return stream

    def _stream(self, namespace: str, spec: TaskSpec) -> UUID:
        """A new one, unless the name is promised to one."""
        promised = self.names.get((namespace, spec.task_id or ""))
        return self.new_id() if promised is None or self.log.load([promised]) else promised

    def _upstream(self, namespace: str, specs: Sequence[TaskSpec]) -> dict[str, UUID]:
        """All tasks that are there, and those that `specs` may wait for."""
        own = {name: stream for (space, name), stream in self.names.items() if space == namespace}
        there = {name: stream for name, stream in own.items() if self.log.load([stream])}
        known = there.keys() | {spec.task_id for spec in specs}
        to_come = [name for name, span in forwards(specs).items() if span is not None and name not in known]
        return there | {name: own.get(name) or self.new_id() for name in to_come}

    def _promise(self, namespace: str, events: Sequence[e.TaskEvent], streams: Mapping[str, UUID]) -> list[e.TaskEvent]:
        promised = [name for name, stream in streams.items() if not self.log.load([stream])]
        for name in promised:
            self.names.setdefault((namespace, name), streams[name])
        return with_deadlines(events, promised, self.log.clock.now())
