"""Tallyport from Python: submit, wait, read the history. `infra.client.connect()` binds it to a running platform."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from api.explaining import Explanation, explanation_of
from api.filters import checked
from api.many import C, send_each
from api.schedule import Schedule, ScheduleSpec
from api.task import ForEach, Retry, Task
from api.told import BEHIND_SECONDS, ENDED, LOOK, Outcome, StoredEvent, Told, accepted, event_of, outcome_of, patiently
from api.workflow import Workflow
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
    SetPriority,
    SubmitTask,
)
from domain.errors import Refused
from domain.events import ENDS
from domain.messages import Cause, routing_key
from domain.operating import StartWorker, StopWorker
from domain.placing import Cache
from domain.ports.log import NewId
from domain.ports.platform import Reading, Sending, View
from domain.ports.tracing import Traces, messaging
from domain.reports import Artifact
from domain.specs import OnFailure, TaskSpec
from domain.type_specs import Definition
from domain.work import Reply

__all__ = [
    "Artifact",
    "Cache",
    "Client",
    "Definition",
    "Explanation",
    "ForEach",
    "Outcome",
    "Retry",
    "Schedule",
    "ScheduleSpec",
    "StoredEvent",
    "SubmittedTask",
    "Task",
]


@dataclass(frozen=True, slots=True)
class Client:
    """One user of a platform, in one namespace. What it was told of, it finds: a read waits for it."""

    sending: Sending
    reading: Reading
    new_id: NewId
    traces: Traces
    namespace: str = "default"
    told: Told = field(default_factory=Told)

    async def submit(self, task: Task | TaskSpec, *, reply: bool = False) -> "SubmittedTask":
        """Send a task; returns when the broker has it, with `reply` when the platform has accepted it.

        Raises Refused (with `reply`), Unavailable.
        """
        spec = task.spec() if isinstance(task, Task) else task
        fields = {name: getattr(spec, name) for name in TaskSpec.model_fields}
        fields["task_id"] = task_id = spec.task_id or str(self.new_id())
        command_id, answer = await self.send(SubmitTask(**fields, namespace=self.namespace), reply=reply)
        return SubmittedTask(self, task_id, command_id, answer)

    async def send(
        self, command: Command, *, reply: bool = False, command_id: UUID | None = None
    ) -> tuple[UUID, Reply | None]:
        """Send any command: its id, and with `reply` what became of it. The same `command_id` again changes nothing.

        Raises Refused, Unavailable.
        """
        command_id = command_id or self.new_id()
        cause = Cause(str(command_id), str(command_id), "client")
        key = routing_key(command.TYPE, command.namespace)
        described = partial(messaging, "send", "task.commands", key, str(command_id), cause.correlation_id)
        with self.traces.step("send task.commands", cause, "producer", described) as cause:
            answer = await self.sending.send(command, command_id, cause, reply)
        return command_id, None if answer is None else self.told.see(accepted(answer))

    def send_each(self, commands: Iterable[C]) -> AsyncIterator[tuple[C, Reply | Refused]]:
        """Send many commands, a bounded number at once, and say what became of each. Raises Unavailable."""
        return send_each(self, commands)

    def workflow(
        self,
        workflow_id: str | None = None,
        *,
        on_failure: OnFailure = "skip-downstream",
        max_parallel: int | None = None,
    ) -> Workflow:
        """Tasks that depend on each other, sent at the end of `async with`: up to 1,000 as one message."""
        return Workflow(workflow_id or str(self.new_id()), self.namespace, self.send, on_failure, max_parallel)

    async def put_task_type(self, task_type: str, definition: Definition) -> None:
        """Register a task type, or its next version. Raises Refused."""
        fields = {name: getattr(definition, name) for name in Definition.model_fields}
        await self.send(PutTaskType(**fields, task_type=task_type, namespace=self.namespace), reply=True)

    async def remove_task_type(self, task_type: str) -> None:
        """Let no new task have a type. Raises Refused where there is none."""
        await self.send(RemoveTaskType(task_type=task_type, namespace=self.namespace), reply=True)

    async def drain_worker(self, worker_id: str, *, reason: str | None = None) -> None:
        """Give a worker nothing more, until it is started; what it runs, it runs to the end. Raises Refused."""
        await self.send(StopWorker(worker_id=worker_id, reason=reason), reply=True)

    async def start_worker(self, worker_id: str) -> None:
        """Take a worker that was drained back into service. Raises Refused."""
        await self.send(StartWorker(worker_id=worker_id), reply=True)

    def task(self, ref: str) -> "SubmittedTask":
        """A task that was submitted before: by its id, its beginning, or its name."""
        return SubmittedTask(self, ref)

    async def tasks(
        self, labels: Mapping[str, str] | None = None, *, limit: int = 10_000, **filters: str
    ) -> AsyncIterator["SubmittedTask"]:
        """The tasks of this namespace that fit, the newest first, such as `tasks({"team": "data"}, status="failed")`.

        `filters`: status, name, task_type, worker, workflow, created_after, created_before. Raises Refused.
        """
        wanted = checked([*filters.items(), *((f"label.{name}", value) for name, value in (labels or {}).items())])
        for view in await patiently(self.reading.tasks, self.namespace, wanted, limit):
            yield SubmittedTask(self, view["id"])

    def schedule(self, schedule_id: str) -> Schedule:
        """A schedule by its name, whether there is one or not."""
        return Schedule(self, schedule_id)

    async def accepted_by(self, reply: Reply) -> list["SubmittedTask"]:
        """The tasks that a reply to a submission accepted."""
        self.told.see(reply)
        if reply.tasks is not None:
            names = [task.task_id for task in reply.tasks if task.outcome == "accepted"]
        elif reply.workflow_id is not None:
            ref, after = reply.workflow_id, self.told.position
            view = await patiently(self.reading.workflow, ref, self.namespace, None, after)
            names = [node["task_id"] for node in view["nodes"]]
        else:
            names = [reply.task_id]
        return [SubmittedTask(self, name, reply=reply) for name in names if name is not None]

    async def cancel_workflow(self, ref: str, *, reason: str | None = None) -> None:
        """Cancel every task of a workflow that has not ended. Raises Refused."""
        await self.send(CancelWorkflow(workflow_id=ref, namespace=self.namespace, reason=reason), reply=True)

    async def retry_workflow(self, ref: str, new_workflow_id: str | None = None) -> Reply:
        """Run a finished workflow once more from its failed tasks, as a new one; `accepted_by` the reply are its tasks.

        Raises Refused.
        """
        command = RetryWorkflow(workflow_id=ref, namespace=self.namespace, new_workflow_id=new_workflow_id)
        _, reply = await self.send(command, reply=True)
        assert reply is not None, "a reply was asked for"
        return reply


@dataclass(frozen=True, slots=True)
class SubmittedTask:
    """A task of the platform. `id` is the name it was given, or what it was looked up by."""

    client: Client
    id: str
    command_id: UUID | None = None
    reply: Reply | None = None

    async def view(self) -> View:
        """All that is known of it now."""
        after = self.client.told.position
        ask = partial(self.client.reading.task, self.id, self.client.namespace, None, after)
        if after:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEHIND_SECONDS):
                    return await patiently(ask)
        return await ask()

    async def explain(self) -> Explanation:
        """Why it stands as it does: all that it waits for, who has it, or why it ended."""
        after = await self._accepted_at()
        return explanation_of(await patiently(self.client.reading.explain, self.id, self.client.namespace, after))

    async def wait(self, timeout: float | None = None) -> Outcome:  # noqa: ASYNC109 - a public name
        """How it ends. Raises TimeoutError after `timeout` seconds, Refused if it was never accepted."""
        async with asyncio.timeout(timeout):
            after = await self._accepted_at()
            while True:
                view = await patiently(self.client.reading.task, self.id, self.client.namespace, LOOK, after)
                if view["status"] in ENDED:
                    return outcome_of(view)

    async def events(self) -> AsyncIterator[StoredEvent]:
        """Its history as it grows, to its end; a lost connection is taken up where it broke."""
        await self._accepted_at()
        version = 0
        while True:
            reading, namespace = self.client.reading, self.client.namespace
            for event in map(event_of, await patiently(reading.task_events, self.id, namespace, version, LOOK)):
                yield event
                version = event.version
                if event.type in ENDS:
                    return

    async def cancel(self, *, reason: str | None = None, grace: timedelta | None = None) -> None:
        """Ask for its end; returns when the platform has agreed. Raises Refused when it has ended already."""
        command = CancelTask(task_id=self.id, namespace=self.client.namespace, reason=reason, grace=grace)
        await self.client.send(command, reply=True)

    async def pause(self, *, reason: str | None = None) -> None:
        """Have it not run before it is resumed. Raises Refused when it does not wait any more."""
        command = PauseTask(task_id=self.id, namespace=self.client.namespace, reason=reason)
        await self.client.send(command, reply=True)

    async def resume(self) -> None:
        """Have it go on waiting for what it waited for, or run. Raises Refused when it has ended."""
        await self.client.send(ResumeTask(task_id=self.id, namespace=self.client.namespace), reply=True)

    async def set_priority(self, priority: int) -> None:
        """Have it go before, or after, others that wait: 1 to 10, 10 first. Raises Refused when it has ended."""
        command = SetPriority(task_id=self.id, namespace=self.client.namespace, priority=priority)
        await self.client.send(command, reply=True)

    async def retry(self, new_task_id: str | None = None) -> "SubmittedTask":
        """Run it once more, as a new task, now that it has ended. Raises Refused when it has not."""
        return await self._made(RetryTask(task_id=self.id, namespace=self.client.namespace, new_task_id=new_task_id))

    async def fork(
        self,
        changes: Mapping[str, Any] | None = None,
        *,
        from_version: int | None = None,
        new_task_id: str | None = None,
    ) -> "SubmittedTask":
        """Make a new task of it as it was at a version of its history (None: now), with changes, such as
        `{"container": {"image": "…"}}`: None leaves a field out. It stays as it is. Raises Refused.
        """
        command = ForkTask(
            task_id=self.id,
            namespace=self.client.namespace,
            from_version=from_version,
            new_task_id=new_task_id,
            changes=dict(changes or {}),
        )
        return await self._made(command)

    async def _made(self, command: RetryTask | ForkTask) -> "SubmittedTask":
        command_id, reply = await self.client.send(command, reply=True)
        assert reply is not None, "a reply was asked for"
        assert reply.task_id is not None, "an accepted task has a name"
        return SubmittedTask(self.client, reply.task_id, command_id, reply)

    async def _accepted_at(self) -> int:
        """A position at which it exists, as far as this client was told."""
        if self.command_id is not None and self.reply is None:
            answer = None
            while answer is None:
                answer = await patiently(self.client.reading.outcome, self.command_id, LOOK)
            self.client.told.see(accepted(answer))
        return self.client.told.position
