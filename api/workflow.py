"""Tasks that depend on each other, put together in Python and sent together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from api.splitting import messages
from api.task import Task
from domain.commands import SubmitWorkflow
from domain.specs import AtLeast, DependsOn, OnFailure, When
from domain.work import Reply

Send = Callable[..., Awaitable[tuple[UUID, Reply | None]]]


@dataclass(slots=True)
class Step:
    """One task of a workflow; its id is `<workflow id>.<name>` unless it was given one."""

    id: str
    task: Task

    def after(self, *needed: "Step", when: When | None = None, at_least: int | None = None) -> Self:
        """Start only when all of `needed`, or `at_least` so many, have ended like that (None: in success, or finished
        in a workflow that continues)."""
        needs = tuple(DependsOn(task_id=step.id, when=when) for step in needed)
        more = needs if at_least is None else (AtLeast(at_least=at_least, of=needs),)
        self.task = replace(self.task, depends_on=(*self.task.depends_on, *more))
        return self


@dataclass(slots=True)
class Workflow:
    """Collects tasks inside `async with`, and sends them at its end; sends nothing if the block raises.

    Of the messages that a large one takes, `reply` is the answer to the last.
    """

    id: str
    namespace: str
    send: Send
    on_failure: OnFailure = "skip-downstream"
    max_parallel: int | None = None
    steps: list[Step] = field(default_factory=list[Step])
    reply: Reply | None = None

    def task(self, name: str, **described: Any) -> Step:
        """Add a task, described as `Task` is."""
        task = Task(name, **described)
        step = Step(task.task_id or f"{self.id}.{name}", task)
        self.steps.append(step)
        return step

    def commands(self) -> list[SubmitWorkflow]:
        """The messages, one for all but large workflows. Raises pydantic's ValidationError, DependencyCycle."""
        specs = [replace(step.task, task_id=step.id).spec() for step in self.steps]
        return messages(self.id, self.namespace, specs, self.on_failure, self.max_parallel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send, and wait for the platform's answer. Raises Refused, Unavailable."""
        if kind is None:
            for command in self.commands():
                _, self.reply = await self.send(command, reply=True)
