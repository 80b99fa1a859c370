"""A task as a Python program describes it."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from typing import Any, Literal

from domain.specs import AtLeast, Container, DependsOn, Requires, TaskSpec, Timeouts


@dataclass(frozen=True, slots=True)
class Task:
    """`name` is for people. `task_id`, unique in its namespace, is what others depend on; left out, one is made.

    `depends_on`: tasks that must have succeeded first, by id; or DependsOn("T0", when="failed"), or AtLeast.

    Give `image`, or `task_type` with its `input`, or executor "noop". `timeout` limits the run, `memory` is such as
    "512Mi"; what is left out is the platform's default.
    """

    name: str
    _: KW_ONLY
    image: str | None = None
    command: Sequence[str] | None = None
    task_type: str | None = None
    input: Mapping[str, Any] | None = None
    executor: Literal["docker", "noop"] = "docker"
    task_id: str | None = None
    depends_on: Sequence[str | DependsOn | AtLeast] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cpus: float | None = None
    memory: str | None = None
    pids: int | None = None
    user: str | None = None
    workdir: str | None = None
    network: str = "none"
    result: str | None = None
    priority: int = 5
    pool: str = "default"
    timeout: timedelta | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    notify: Sequence[str] = ()

    def spec(self) -> TaskSpec:
        """The same as a command carries it. Raises pydantic's ValidationError."""
        return TaskSpec(
            task_id=self.task_id,
            name=self.name,
            container=None if self.image is None else self._container(self.image),
            task_type=self.task_type,
            input=None if self.input is None else dict(self.input),
            executor=self.executor,
            depends_on=tuple(DependsOn(task_id=need) if isinstance(need, str) else need for need in self.depends_on),
            priority=self.priority,
            requires=Requires(pool=self.pool),
            timeouts=Timeouts() if self.timeout is None else Timeouts(run=self.timeout),
            labels=dict(self.labels),
            notify=tuple(self.notify),
        )

    def _container(self, image: str) -> Container:
        return Container(
            image=image,
            command=None if self.command is None else tuple(self.command),
            env=dict(self.env),
            user=self.user,
            workdir=self.workdir,
            network=self.network,
            cpus=self.cpus,
            memory=self.memory,
            pids=self.pids,
            result=self.result,
        )
