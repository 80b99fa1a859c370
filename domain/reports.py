"""What workers tell the platform over `task.reports` and `task.beats`. Only workers may write there."""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from domain.messages import Int, Json, Message, Name, Text, Value, by_type

Fence = Annotated[int, Field(ge=1, le=2**31 - 1)]
Generation = Annotated[int, Field(ge=0, le=2**31 - 1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MOST_ARTIFACTS = 100
Share = Annotated[float, Field(ge=0, le=1)]


class RegisterWorker(Message):
    """A worker process has come up: opens a new generation. Answered on `reply_to` by `Registered`."""

    TYPE = "worker.register.v1"
    worker_id: Name
    instance: UUID
    engine: Text
    pool: Name = "default"
    slots: Annotated[int, Field(ge=1, le=10_000)] = 4
    executors: tuple[Name, ...] = ("docker", "noop")
    labels: dict[str, Text] = {}
    version: Text = "unknown"


class HeldRun(Value):
    """A run that the worker has accepted and not yet seen committed as finished."""

    run_id: UUID
    fence: Fence
    state: Literal["accepted", "pulling", "running", "finished"]


class Heartbeat(Message):
    """Proof of life, every 3 s and at once after an offer. Never an event. `reports` waits to be named as committed.

    `cpu`, `memory` and `disk` are the host's shares in use, 0 to 1.
    """

    TYPE = "worker.heartbeat.v1"
    worker_id: Name
    generation: Generation
    beat: Int
    runs: Annotated[tuple[HeldRun, ...], Field(max_length=10_000)] = ()
    reports: Annotated[tuple[UUID, ...], Field(max_length=10_000)] = ()
    cpu: Share | None = None
    memory: Share | None = None
    disk: Share | None = None


class Probe(Message):
    """Sent by the platform to itself through the queue of beats: leases age only while probes come through."""

    TYPE = "lease.probe.v1"
    probe: Int


class RunError(Value):
    """Why a run did not start or has no usable outcome; `code` becomes the reason in the history."""

    code: Name
    detail: Text = ""


class RunStart(Message):
    """A run's container was started."""

    TYPE = "run.start.v1"
    task_id: UUID
    run_id: UUID
    fence: Fence
    container_id: Text | None = None
    image_digest: Text | None = None
    traceparent: Text | None = None


class LogEnd(Value):
    """The end of a run's output: bytes of both streams together, SHA-256 of stdout then stderr.

    `truncated`: the run printed more, beyond what is kept or lost with the engine; absent: this is all of it.
    """

    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256
    truncated: bool | None = None


class Artifact(Value):
    """Data that a run left elsewhere: where, and what to check it by."""

    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
    uri: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20\x7f]{1,2047}$")]
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0, le=2**63 - 1)]


class RunFinish(Message):
    """A run is over. Carries all that its start carried, so that a lost start costs nothing.

    `exit_code` None: the container never started, or its outcome is not known; `error` says why.
    `gone`: the container was seen to run no longer. `signal`: the one this worker sent, if any.
    """

    TYPE = "run.finish.v1"
    task_id: UUID
    run_id: UUID
    fence: Fence
    container_id: Text | None = None
    image_digest: Text | None = None
    exit_code: Int | None = None
    oom_killed: bool = False
    signal: Text | None = None
    gone: bool = True
    error: RunError | None = None
    result: Json = None
    artifacts: Annotated[tuple[Artifact, ...], Field(max_length=MOST_ARTIFACTS)] | None = None
    log: LogEnd | None = None
    traceparent: Text | None = None


class StartReport(Value):
    """One report in a message of several: it keeps its own id and its own outcome."""

    type: Literal["run.start.v1"] = "run.start.v1"
    id: UUID
    data: RunStart


class FinishReport(Value):
    """As `StartReport`, of a finish."""

    type: Literal["run.finish.v1"] = "run.finish.v1"
    id: UUID
    data: RunFinish


Report: TypeAlias = Annotated[StartReport | FinishReport, Field(discriminator="type")]


class Reports(Message):
    """What was ready while the last message was on its way."""

    TYPE = "reports.v1"
    worker_id: Name
    generation: Generation
    reports: Annotated[tuple[Report, ...], Field(min_length=1, max_length=1000)]


RunReport: TypeAlias = RunStart | RunFinish
REPORTS: dict[str, type[Message]] = by_type((RegisterWorker, Reports, Heartbeat, Probe))
