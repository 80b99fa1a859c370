"""A container engine that runs no containers: programs by their command, signals and failures at the test's word."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from uuid import UUID

from adapters.docker_config import Policy
from domain.errors import CannotRun, EngineDown, EngineTimeout
from domain.ports.running import RESULT_LIMIT, Found, Left, Output, Planned, Signal

KILLED = 137


@dataclass(frozen=True, slots=True)
class Program:
    """What a command does. `waits`: until a signal or the test ends it. `on_term` None: TERM is ignored."""

    prints: tuple[Output, ...] = ()
    exit_code: int = 0
    oom_killed: bool = False
    waits: bool = False
    on_term: int | None = 143
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


@dataclass(slots=True)
class _Container:
    found: Found
    program: Program | None
    printed: list[Output] = field(default_factory=list[Output])
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class InMemoryContainers:
    """See `Containers`. `started` lists the runs whose start was asked for, in order, repeats included; `planned`
    the containers that were made."""

    def __init__(
        self, programs: Mapping[tuple[str, ...], Program], images: Sequence[str], policy: Policy | None = None
    ) -> None:
        self._programs, self._policy, self._numbers = programs, policy or Policy(), count(1)
        self.images, self.started = set(images), list[UUID]()
        self.planned: list[Planned] = []
        self.down = False
        self.start_times_out = False
        self.pulled = asyncio.Event()
        self.pulling = asyncio.Event()
        self._all: dict[str, _Container] = {}

    async def engine_id(self) -> str:
        self._check_up("info")
        return "in-memory"

    async def ping(self) -> None:
        self._check_up("ping")

    async def ensure_image(self, image: str, within: timedelta) -> str | None:
        """An image that is missing arrives when the test sets `pulled`; not within no time."""
        self._policy.check_image(image)
        self._check_up("look for image")
        if image not in self.images:
            self.pulling.set()
            try:
                async with asyncio.timeout(within.total_seconds()):
                    await self.pulled.wait()
            except TimeoutError as error:
                raise CannotRun("pull-failed", f"image {image}: not there in time") from error
        return f"sha256:{image}"

    async def create(self, planned: Planned) -> Found:
        self._check_up("create")
        spec, labels = planned.container, planned.labels
        self._policy.check_network(spec.network)
        if spec.image not in self.images and not self.pulled.is_set():
            raise CannotRun("image-not-found", f"image {spec.image}: not here")
        there = next((c.found for c in self._all.values() if c.found.labels.run == labels.run), None)
        if there is not None:
            theirs = there.labels
            if (theirs.installation, theirs.worker) != (labels.installation, labels.worker):
                raise CannotRun("name-clash", f"tally-{labels.run}: another worker's")
            if theirs.fence == labels.fence:
                return there
            if there.state != "created":
                raise CannotRun("name-clash", f"tally-{labels.run}: was started with fence {theirs.fence}")
            del self._all[there.id]
        self.planned.append(planned)
        found = Found(f"{next(self._numbers):064x}", labels, "created", image=f"sha256:{spec.image}")
        self._all[found.id] = _Container(found, self._programs.get(spec.command or ()))
        return found

    async def start(self, id: str, last_look: Callable[[], None]) -> None:
        last_look()
        self._check_up("start")
        container = self._all[id]
        self.started.append(container.found.labels.run)
        if container.program is None:
            raise CannotRun("bad-command", "no such program")
        container.printed += container.program.prints
        container.found = replace(container.found, state="running")
        if not container.program.waits:
            await self._end(container, container.program.exit_code)
        if self.start_times_out:
            raise EngineTimeout("start: no answer")

    async def output(self, id: str) -> AsyncGenerator[Output, None]:
        self._check_up("output")
        if (container := self._all.get(id)) is None:
            raise EngineDown("output: HTTPError")
        seen = 0
        while container.found.state != "exited" or seen < len(container.printed):
            async with container.changed:
                while container.found.state != "exited" and seen == len(container.printed):
                    await container.changed.wait()
                new, seen = container.printed[seen:], len(container.printed)
            for piece in new:
                yield piece

    async def ended(self, id: str) -> Found | None:
        if (container := self._all.get(id)) is None:
            return None
        async with container.changed:
            await container.changed.wait_for(lambda: container.found.state != "running")
        return container.found

    async def inspect(self, id: str) -> Found | None:
        self._check_up("inspect")
        container = self._all.get(id)
        return container.found if container else None

    async def signal(self, id: str, signal: Signal) -> None:
        self._check_up("signal")
        container = self._all.get(id)
        if container is None or container.program is None or container.found.state != "running":
            return
        if signal == "KILL":
            await self._end(container, KILLED)
        elif container.program.on_term is not None:
            await self._end(container, container.program.on_term)

    async def read_file(self, id: str, path: str, what: Left = "result") -> bytes | None:
        self._check_up("read")
        program = self._all[id].program
        data = program.files.get(path) if program else None
        if data is not None and len(data) > RESULT_LIMIT:
            raise CannotRun(f"{what}-too-large", f"{path}: {len(data)} bytes")
        return data

    async def remove(self, id: str) -> bool:
        self._check_up("remove")
        container = self._all.get(id)
        if container is not None and container.found.state == "running":
            return False
        self._all.pop(id, None)
        return True

    async def labelled(self, installation: UUID, worker: str) -> Sequence[Found]:
        self._check_up("list")
        found = [container.found for container in self._all.values()]
        return [c for c in found if (c.labels.installation, c.labels.worker) == (installation, worker)]

    async def end(self, run: UUID, exit_code: int) -> None:
        """The run's program ends by itself."""
        await self._end(next(c for c in self._all.values() if c.found.labels.run == run), exit_code)

    async def print(self, run: UUID, piece: Output) -> None:
        """The run's program prints."""
        container = next(c for c in self._all.values() if c.found.labels.run == run)
        async with container.changed:
            container.printed.append(piece)
            container.changed.notify_all()

    async def _end(self, container: _Container, exit_code: int) -> None:
        async with container.changed:
            oom = container.program is not None and container.program.oom_killed
            container.found = replace(container.found, state="exited", exit_code=exit_code, oom_killed=oom)
            container.changed.notify_all()

    def _check_up(self, call: str) -> None:
        if self.down:
            raise EngineDown(f"{call}: no container engine answers")
