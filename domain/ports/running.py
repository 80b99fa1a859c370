"""Containers as a worker needs them, and the little that it keeps on its own disk."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Protocol, TypeAlias
from uuid import UUID

from domain.ports.logkeeping import LogStream
from domain.reports import FinishReport
from domain.specs import Container

ContainerState: TypeAlias = Literal["created", "running", "exited"]
Signal: TypeAlias = Literal["TERM", "KILL"]
RESULT_LIMIT = 64 << 10
"""Bytes of a result file, and of a list of artifacts."""
Left: TypeAlias = Literal["result", "artifacts"]
"""What a run leaves in a file for the platform."""


@dataclass(frozen=True, slots=True)
class RunLabels:
    """What a container's labels say: whose it is, and all that a restarted worker needs to see the run to its end.

    `stop`: from TERM to KILL. `result`, `artifacts`: files to read when it has ended. `image`: as it was asked for.
    `workflow`: the id of the stream of the workflow that users call `workflow_id`.
    """

    installation: UUID
    worker: str
    generation: int
    namespace: str
    task: UUID
    run: UUID
    fence: int
    name: str
    stop: timedelta
    result: str | None = None
    artifacts: str | None = None
    image: str | None = None
    workflow_id: str | None = None
    workflow: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """A container to create, named `tally-<run>`. `env` is added to the container's own and wins over it. `input`: the
    content of its file `INPUT_FILE`; None: it has none."""

    labels: RunLabels
    container: Container
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    input: bytes | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A container as the engine shows it. `exit_code` is the engine's, raw; None unless it has exited.

    `image`: digest of its image (`sha256:…`), as the engine knows it.
    """

    id: str
    labels: RunLabels
    state: ContainerState
    exit_code: int | None = None
    oom_killed: bool = False
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes that a container printed, in order within each stream."""

    stream: LogStream
    data: bytes


class Containers(Protocol):
    """A container engine. Every call ends within its time, else it raises EngineTimeout; EngineDown when nothing
    answers. After either it is not known whether it was done."""

    async def engine_id(self) -> str:
        """The engine's lasting id."""
        ...

    async def ping(self) -> None:
        """Return when the engine answers."""
        ...

    async def ensure_image(self, image: str, within: timedelta) -> str | None:
        """Return when the engine has the image: its digest, if it has one. Fetches it only when it is not there.

        Raises CannotRun: image-not-allowed, image-not-found, pull-rate-limited, disk-full, and pull-failed for
        everything else, time running out included.
        """
        ...

    async def create(self, planned: Planned) -> Found:
        """The run's container. One of that name with the same installation, worker, run and fence is taken over,
        whatever its state; one of another fence only makes room if it was never started.

        Raises CannotRun: image-not-found, network-not-allowed, container-refused, name-clash, disk-full, engine-error.
        """
        ...

    async def start(self, id: str, last_look: Callable[[], None]) -> None:
        """Start a created container; to be called once in its life. `last_look` is called right before the engine is
        asked, in any thread; what it raises comes out of here, and the engine is not asked.

        Raises CannotRun: bad-command, disk-full, engine-error; Unavailable leaves open whether it runs.
        """
        ...

    def output(self, id: str) -> AsyncGenerator[Output, None]:
        """All that the container has printed since its start, then what it prints, until it has ended.

        Raises EngineDown when the engine is lost, or the container is silent for long: ask again, skip what is known.
        """
        ...

    async def ended(self, id: str) -> Found | None:
        """Wait until the container no longer runs, and return it as it is then. Returns it running after at most
        60 s, None if there is no such container."""
        ...

    async def inspect(self, id: str) -> Found | None:
        """The container now; None if there is none."""
        ...

    async def signal(self, id: str, signal: Signal) -> None:
        """Send a signal to the container's first process; nothing happens if it has ended."""
        ...

    async def read_file(self, id: str, path: str, what: Left = "result") -> bytes | None:
        """The bytes of a regular file in an ended container. None: nothing is there. Raises CannotRun
        result-too-large, and result-invalid for a link, a folder and what else is no regular file; with artifacts for
        result where that is what it holds."""
        ...

    async def remove(self, id: str) -> bool:
        """Remove a container and its volumes, never by force: False if it still runs. Done before: nothing happens."""
        ...

    async def labelled(self, installation: UUID, worker: str) -> Sequence[Found]:
        """Every container of this worker, whatever its state."""
        ...


class Spool(Protocol):
    """Finish reports on the worker's own disk, until they are committed: they outlive the process."""

    async def keep(self, reports: Sequence[FinishReport]) -> None:
        """Return when the reports would survive a power cut. Raises Unavailable if the disk does not take them."""
        ...

    async def drop(self, ids: Sequence[UUID]) -> None:
        """Forget reports; unknown ids change nothing. Raises Unavailable if the disk does not let them go."""
        ...

    async def load(self) -> Sequence[FinishReport]:
        """All reports kept and not dropped."""
        ...


class BootClock(Protocol):
    """Seconds since the machine booted, sleep included: never set, never back."""

    def __call__(self) -> float: ...


@dataclass(frozen=True, slots=True)
class HostLoad:
    """The host's shares in use, 0 to 1; None: not known."""

    cpu: float | None = None
    memory: float | None = None
    disk: float | None = None
