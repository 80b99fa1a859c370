"""What users say about a task: the parts that commands, offers and events share."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Literal, Self, cast

from pydantic import (
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from domain.messages import DisplayName, Json, Name, Text, Value, compact, depth, is_uuid
from domain.moments import Moment
from domain.placing import Cache, Concurrency, Label, Requires
from domain.retry_spec import Argument, Arguments, Image, Retry

EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
AbsolutePath = Annotated[str, Field(pattern=r"^/[^\x00-\x1f]{0,1023}$")]
Channel = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Memory = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,12}(Ki|Mi|Gi)?$")]
Priority = Annotated[int, Field(ge=1, le=10)]
MOST_NEEDS = 10_000
INPUT_LIMIT, INPUT_DEPTH = 64 << 10, 10
"""Bytes of an input as compact JSON, and objects and lists around its innermost value."""
INPUT_FILE = "/tally/input.json"
"""Where a container finds its input."""
USUAL_PRIORITY = 5
MOST_CHILDREN = 10_000


class Container(Value):
    """One container. What is left out is the image's own choice; limits left out are the worker's defaults."""

    image: Image
    command: Arguments | None = None
    env: Annotated[dict[EnvName, Argument], Field(max_length=256)] = {}
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$")] | None = None
    workdir: AbsolutePath | None = None
    network: Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9_.-]{0,62}$")] = "none"
    cpus: Annotated[float, Field(gt=0, le=1024)] | None = None
    memory: Memory | None = None
    pids: Annotated[int, Field(ge=1, le=65_536)] | None = None
    result: AbsolutePath | None = None
    artifacts: AbsolutePath | None = None

    @model_validator(mode="after")
    def _files_apart(self) -> Self:
        if self.result == INPUT_FILE or self.artifacts == INPUT_FILE:
            raise ValueError(f"{INPUT_FILE} is where the input is; name another file for result and artifacts")
        if self.result is not None and self.result == self.artifacts:
            raise ValueError("result and artifacts must be two files")
        return self

    @model_validator(mode="after")
    def _memory_within_bounds(self) -> Self:
        if self.memory is not None and not 6 << 20 <= memory_bytes(self.memory) <= 4 << 40:
            raise ValueError("memory must be at least 6Mi (the container engine's own minimum) and at most 4096Gi")
        return self


class Timeouts(Value):
    """Limits in time: waiting in the queue, fetching the image, running, and from TERM to KILL."""

    queue: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=365))] | None = None
    pull: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(hours=6))] = timedelta(minutes=5)
    run: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=365))] = timedelta(hours=1)
    stop: Annotated[timedelta, Field(ge=timedelta(0), le=timedelta(hours=1))] = timedelta(seconds=10)


When = Literal["succeeded", "failed", "finished", "always"]
"""How a task must have ended: `failed` also quarantined, `finished` either of the two before, `always` also cancelled,
skipped or expired."""


class DependsOn(Value):
    """A task that must have ended so first: its id, or the name it was given, in the same namespace.

    `when` left out: in success, unless its workflow says otherwise. `forward`: how long to wait for a task of that name
    if there is none yet; left out, it must be there.
    """

    task_id: Name
    when: When | None = None
    forward: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=365))] | None = None

    @model_validator(mode="after")
    def _a_name_is_waited_for(self) -> Self:
        if self.forward is not None and is_uuid(self.task_id):
            raise ValueError("forward waits for a name, and this is an id; leave forward out, or name the task")
        return self

    @property
    def condition(self) -> When:
        """How it must have ended."""
        return self.when or "succeeded"


OnFailure = Literal["skip-downstream", "fail-fast", "continue"]
"""What a workflow does when one of its tasks fails: skip those that need its success, cancel all that have not ended,
or go on as if it had succeeded."""


class AtLeast(Value):
    """So many of these tasks must have ended as each says."""

    at_least: Annotated[int, Field(ge=1, le=MOST_NEEDS)]
    of: Annotated[tuple[DependsOn, ...], Field(min_length=1, max_length=MOST_NEEDS)]

    @field_validator("of")
    @classmethod
    def _clear(cls, of: tuple[DependsOn, ...]) -> tuple[DependsOn, ...]:
        _check_each_once(of)
        return of

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if self.at_least > len({need.task_id for need in self.of}):
            raise ValueError("at_least must be no more than the tasks of the set")
        return self


def _kind_of_need(given: object) -> str:
    if isinstance(given, dict):
        return "<task>" if {"at_least", "of"}.isdisjoint(cast("dict[str, object]", given)) else "<set>"
    return "<set>" if isinstance(given, AtLeast) else "<task>"


def _check_each_once(needs: Iterable[DependsOn]) -> None:
    """The same task twice is once, but not with two conditions, or two times to wait for it."""
    seen: dict[str, DependsOn] = {}
    for need in needs:
        first = seen.setdefault(need.task_id, need)
        if first.condition != need.condition:
            raise ValueError(f"{need.task_id} is named with two conditions; give one")
        if first.forward != need.forward:
            raise ValueError(f"{need.task_id} is named with two values of forward; give one")


Need = Annotated[Annotated[DependsOn, Tag("<task>")] | Annotated[AtLeast, Tag("<set>")], Discriminator(_kind_of_need)]
"""The tags are no part of a field's name: see `domain.messages.field_path`."""


class Job(Value):
    """What a task runs, and what it needs of the platform for that: a container, or a registered type, or nothing to
    run at all.

    `input` is what it works on: a file and an environment variable of its container. Templates in it, in the command
    and in the environment are filled when all that it depends on has ended: see `domain.templates`.
    It is not queued before `not_before`; a task that waits at `expires_at` expires.
    """

    name: DisplayName | None = None
    container: Container | None = None
    task_type: Name | None = None
    input: dict[str, Json] | None = None
    executor: Literal["docker", "noop"] = "docker"
    priority: Priority = USUAL_PRIORITY
    requires: Requires = Requires()
    concurrency: Concurrency | None = None
    timeouts: Timeouts = Timeouts()
    retry: Retry | None = None
    cache: Cache | None = None
    not_before: Moment | None = None
    expires_at: Moment | None = None
    labels: Annotated[dict[Label, Text], Field(max_length=64)] = {}
    notify: Annotated[tuple[Channel, ...], Field(max_length=16)] = ()

    @model_validator(mode="after")
    def _runs_exactly_one_thing(self) -> Self:
        _check_one_thing(self)
        return self

    @field_validator("input")
    @classmethod
    def _within_limits(cls, input: dict[str, Json] | None) -> dict[str, Json] | None:
        if input is not None and len(compact(input).encode()) > INPUT_LIMIT:
            raise ValueError(f"more than {INPUT_LIMIT} bytes of JSON; pass large data by reference")
        if depth(input) > INPUT_DEPTH:
            raise ValueError(f"it nests deeper than {INPUT_DEPTH} levels; flatten it")
        return input

    @model_validator(mode="after")
    def _has_time_to_begin(self) -> Self:
        if self.not_before is not None and self.expires_at is not None and self.not_before >= self.expires_at:
            raise ValueError("not_before must be earlier than expires_at")
        return self


def _check_one_thing(job: Job) -> None:
    if job.executor == "noop":
        if job.container is not None or job.task_type is not None:
            raise ValueError("executor noop runs nothing: leave out container and task_type")
    elif (job.container is None) == (job.task_type is None):
        raise ValueError("give either container or task_type")
    if job.executor == "noop" and job.retry is not None and job.retry.fallback is not None:
        raise ValueError("executor noop has no container: leave out retry.fallback")


class Count(Value):
    """So many items: the numbers from 0 on."""

    count: Annotated[int, Field(ge=0, le=MOST_CHILDREN)]


Reading = Annotated[str, Field(min_length=1, max_length=1024)]
Listing = Annotated[tuple[Json, ...], Field(max_length=MOST_CHILDREN)]


def _kind_of_items(given: object) -> str:
    if isinstance(given, str):
        return "<template>"
    return "<count>" if isinstance(given, dict | Count) else "<list>"


Items = Annotated[
    Annotated[Reading, Tag("<template>")] | Annotated[Count, Tag("<count>")] | Annotated[Listing, Tag("<list>")],
    Discriminator(_kind_of_items),
]


class ForEach(Value):
    """One task, a child, for each of `items`: a list, or so many, or a template that stands for what a task that is
    depended on has left. In the commands, the environment and the input of `task`, `{{item}}` and `{{index}}` stand for
    the item and its place, from 0. At most `max_parallel` of the children run at once.
    """

    items: Items
    task: Job
    max_parallel: Annotated[int, Field(ge=1, le=MOST_CHILDREN)] | None = None

    @field_validator("task")
    @classmethod
    def _alone(cls, task: Job) -> Job:
        if task.requires.same_worker_as is not None:
            raise ValueError("requires.same_worker_as: a child depends on no task; leave it out")
        return task


class TaskSpec(Job):
    """A task as its user describes it.

    `for_each`: it runs nothing itself, but is spread over children when all that it depends on has ended; it ends when
    they have.
    """

    task_id: Name | None = None
    depends_on: Annotated[tuple[Need, ...], Field(max_length=MOST_NEEDS)] = ()
    for_each: ForEach | None = None

    @model_validator(mode="after")
    def _runs_exactly_one_thing(self) -> Self:
        if self.for_each is None:
            _check_one_thing(self)
            return self
        usual: dict[str, object] = {"executor": "docker", "requires": Requires(), "timeouts": Timeouts()}
        for name in (*usual, "container", "task_type", "input", "concurrency", "retry", "cache"):
            if getattr(self, name) != usual.get(name):
                raise ValueError(f"for_each runs nothing itself: put {name} into for_each.task")
        return self

    @model_validator(mode="after")
    def _follows_one_that_has_run(self) -> Self:
        other = self.requires.same_worker_as
        if other is not None and not any(
            isinstance(need, DependsOn) and need.task_id == other for need in self.depends_on
        ):
            raise ValueError(f"requires.same_worker_as: {other} must also be one of depends_on, alone and not in a set")
        return self

    @field_validator("depends_on")
    @classmethod
    def _few_and_clear(cls, depends_on: tuple[Need, ...]) -> tuple[Need, ...]:
        _check_each_once(need for need in depends_on if isinstance(need, DependsOn))
        if sum(len(need.of) if isinstance(need, AtLeast) else 1 for need in depends_on) > MOST_NEEDS:
            raise ValueError(f"more than {MOST_NEEDS} tasks are named; let some tasks between wait for a part of them")
        return depends_on


def memory_bytes(quantity: str) -> int:
    """Bytes of a memory limit such as `"512Mi"`: suffixes Ki, Mi, Gi are powers of 1024, a bare number is bytes."""
    for power, suffix in enumerate(("Ki", "Mi", "Gi"), start=1):
        if quantity.endswith(suffix):
            return int(quantity[:-2]) << (10 * power)
    return int(quantity)
