"""A task as a Python program describes it."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from domain import retry_spec, specs
from domain.placing import Cache, Concurrency, Requires
from domain.retry_spec import MAX_LOSSES
from domain.specs import AtLeast, Container, DependsOn, TaskSpec, Timeouts


@dataclass(frozen=True, slots=True)
class Retry:
    """When a run that failed is followed by another: up to `max_runs` that fail, for a reason of `on`.

    The wait is `first`, or doubles from there up to `max` (None: a minute), and is shortened at random by at most
    half. Runs lost with their workers are counted apart (`max_losses`). The last run of all may have another image or
    command.
    """

    max_runs: int = 3
    _: KW_ONLY
    backoff: Literal["fixed", "exponential"] = "exponential"
    first: timedelta = timedelta(seconds=2)
    max: timedelta | None = None
    on: Sequence[str] = ("exit-nonzero", "oom", "timeout", "pull-failed")
    max_losses: int = MAX_LOSSES
    fallback_image: str | None = None
    fallback_command: Sequence[str] | None = None

    def spec(self) -> retry_spec.Retry:
        """The same as a command carries it. Raises pydantic's ValidationError."""
        command = None if self.fallback_command is None else tuple(self.fallback_command)
        other = self.fallback_image is not None or command is not None
        return retry_spec.Retry(
            max_runs=self.max_runs,
            backoff=self.backoff,
            first=self.first,
            max=self.max,
            on=tuple(self.on),
            max_losses=self.max_losses,
            fallback=retry_spec.Fallback(image=self.fallback_image, command=command) if other else None,
        )


@dataclass(frozen=True, slots=True)
class ForEach:
    """`task` once for each of `items`: a list, a number of them, or a template such as `{{tasks.T0.result.files}}`.

    `{{item}}` and `{{index}}` in its command, in `env` and in `input` stand for the item and its place.
    """

    items: str | int | Sequence[Any]
    task: "Task"
    max_parallel: int | None = None

    def spec(self) -> specs.ForEach:
        """The same as a command carries it. Raises ValueError, among them pydantic's ValidationError."""
        whole = self.task.spec()
        if whole.task_id or whole.depends_on or whole.for_each:
            raise ValueError("a child has no task_id, depends_on or for_each of its own; give them beside for_each")
        items = self.items
        return specs.ForEach(
            items=specs.Count(count=items)
            if isinstance(items, int)
            else items
            if isinstance(items, str)
            else tuple(items),
            task=specs.Job(**{name: getattr(whole, name) for name in specs.Job.model_fields}),
            max_parallel=self.max_parallel,
        )


@dataclass(frozen=True, slots=True)
class Task:
    """`name` is for people. `task_id`, unique in its namespace, is what others depend on; left out, one is made.

    `depends_on`: tasks that must have succeeded first, by id; or DependsOn("T0", when="failed"), or AtLeast.

    Give `image`, or `task_type`, or executor "noop", or `for_each`. `input` is what it works on; `result` and
    `artifacts` are files of its container that it leaves for the platform. `{{tasks.T0.result.rows}}` in the command,
    in `env` and in `input` stands for a value of a task that this one depends on. `timeout` limits the run,
    `queue_timeout` the wait for a free slot, `memory` is such as "512Mi"; what is left out is the platform's default.
    Times need a zone. `cache`: it is a pure function of an image, named by its digest, its command and its input, and
    may take the result of an equal task that has succeeded.
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
    artifacts: str | None = None
    priority: int = 5
    pool: str = "default"
    worker_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    same_worker_as: str | None = None
    concurrency: Concurrency | None = None
    timeout: timedelta | None = None
    queue_timeout: timedelta | None = None
    not_before: datetime | None = None
    expires_at: datetime | None = None
    retry: Retry | None = None
    cache: Cache | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    notify: Sequence[str] = ()
    for_each: ForEach | None = None

    def spec(self) -> TaskSpec:
        """The same as a command carries it. Raises pydantic's ValidationError."""
        limits = {"run": self.timeout, "queue": self.queue_timeout}
        given = {name: limit for name, limit in limits.items() if limit is not None}
        return TaskSpec(
            task_id=self.task_id,
            name=self.name,
            container=None if self.image is None else self._container(self.image),
            task_type=self.task_type,
            input=None if self.input is None else dict(self.input),
            executor=self.executor,
            depends_on=tuple(DependsOn(task_id=need) if isinstance(need, str) else need for need in self.depends_on),
            priority=self.priority,
            requires=Requires(
                pool=self.pool, labels=dict(self.worker_labels) or None, same_worker_as=self.same_worker_as
            ),
            concurrency=self.concurrency,
            timeouts=Timeouts(**given),
            not_before=self.not_before,
            expires_at=self.expires_at,
            retry=None if self.retry is None else self.retry.spec(),
            cache=self.cache,
            labels=dict(self.labels),
            notify=tuple(self.notify),
            for_each=None if self.for_each is None else self.for_each.spec(),
        )

    def _requires(self) -> Requires:
        labels = dict(self.worker_labels) or None
        return Requires(pool=self.pool, labels=labels, same_worker_as=self.same_worker_as)

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
            artifacts=self.artifacts,
        )
