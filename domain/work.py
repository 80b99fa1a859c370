"""What the platform tells workers over `task.work`, and what it answers to senders."""

from datetime import timedelta
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from domain.messages import Json, Message, Value, by_type
from domain.specs import Container, Timeouts

StopReason: TypeAlias = Literal["cancel", "timeout"]


class RunSpec(Value):
    """What to run. `container` None: executor noop. `workflow`: the stream of the workflow it belongs to, if any.
    `input`: what its container finds in a file and in its environment."""

    namespace: str
    name: str
    executor: str
    container: Container | None = None
    input: dict[str, Json] | None = None
    timeouts: Timeouts
    workflow_id: str | None = None
    workflow: UUID | None = None


class OfferedRun(Value):
    """One run for a worker: it may start it until `within` after it sent its own beat number `beat`."""

    task_id: UUID
    run_id: UUID
    run: int
    fence: int
    beat: int
    within: timedelta
    spec: RunSpec
    traceparent: str | None = None
    tracestate: str | None = None


class RunOffer(Message):
    """Runs that a worker of this generation may start."""

    TYPE = "run.offer.v1"
    generation: int
    runs: tuple[OfferedRun, ...]


class RunStop(Message):
    """End a run: TERM, then KILL after `grace`; if it has not started, never start it. Always answered by a finish.

    `generation`: of the lease; absent where the worker has listed the run.
    """

    TYPE = "run.stop.v1"
    task_id: UUID
    run_id: UUID
    fence: int
    grace: timedelta
    why: StopReason
    generation: int | None = None


class WorkerSync(Message):
    """Answers each beat: the leases that hold, runs to stop, reports committed, log bytes stored a run.

    `register` True: the generation is not the current one; stop what is held and register anew.
    """

    TYPE = "worker.sync.v1"
    generation: int
    beat: int
    valid: tuple[UUID, ...] = ()
    stop: tuple[UUID, ...] = ()
    committed: tuple[UUID, ...] = ()
    logs_stored: dict[UUID, int] = {}
    register_again: bool = False


class Problem(Value):
    """What is said of every refusal (RFC 9457). `code` is stable; `detail` names the problem and the way out."""

    type: str
    title: str
    detail: str
    code: str
    errors: tuple[dict[str, Any], ...] = ()


class TaskOutcome(Value):
    """What became of one task of `task.submit-tasks.v1`."""

    task_id: str | None = None
    id: UUID | None = None
    outcome: Literal["accepted", "rejected"]
    problem: Problem | None = None


class Reply(Message):
    """What became of a command: `task_id` as its sender named it, `id` the stream.

    A registration is answered with the `generation` it opened and the `installation` containers are labelled with.
    """

    TYPE = "reply.v1"
    command_id: UUID
    outcome: Literal["accepted", "rejected"]
    duplicate: bool = False
    task_id: str | None = None
    workflow_id: str | None = None
    schedule_id: str | None = None
    id: UUID | None = None
    version: int | None = None
    position: Annotated[int, Field(ge=0)] | None = None
    generation: int | None = None
    installation: UUID | None = None
    tasks: tuple[TaskOutcome, ...] | None = None
    problem: Problem | None = None
    links: dict[str, str] | None = None


WORK: dict[str, type[Message]] = by_type((RunOffer, RunStop, WorkerSync))
