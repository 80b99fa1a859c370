"""From an offer to a container that was started, once: image, container, the last look at the clock, start."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, TypeVar
from uuid import UUID

from consumers.fitness import Fitness
from consumers.holdings import Held
from domain.errors import CannotRun, EngineDown, EngineTimeout
from domain.messages import compact
from domain.ports.running import BootClock, Containers, Found, Planned, RunLabels
from domain.specs import INPUT_FILE, Container
from domain.work import OfferedRun

T = TypeVar("T")
Pause = Callable[[float], Awaitable[None]]
RETRY_SECONDS = LOOK_SECONDS = 1.0
PATIENCE = 10
"""Tries, a second apart, before a run counts as lost because the engine does not answer: others may start it."""
START_LOOKS = 30
"""Looks, a second apart, whether a container runs whose start was not answered."""

log = logging.getLogger(__name__)


class TooLate(Exception):
    """The run may not start any more: the platform may have given it to another worker."""


@dataclass(frozen=True, slots=True)
class Start:
    """Starts containers of one worker. `installation` and `generation` go into their labels."""

    containers: Containers
    clock: BootClock
    worker_id: str
    installation: UUID
    generation: int
    fitness: Fitness
    pause: Pause = field(default=asyncio.sleep)

    async def __call__(self, held: Held) -> None:
        """Leaves the container of a run started, or being found out about. Raises CannotRun, TooLate."""
        try:
            await self._start(held)
        except CannotRun as refused:
            if refused.code == "disk-full":
                self.fitness.full()
            raise

    async def _start(self, held: Held) -> None:
        offered = held.offered
        assert offered is not None, "what is to be started was offered"
        spec = offered.spec.container
        if spec is None:
            raise CannotRun("container-refused", f"executor {offered.spec.executor}: the offer names no container")
        held.state = "pulling"
        try:
            found = await self._create(held, offered, spec)
        except CannotRun as refused:
            if refused.code != "image-not-found" or held.image is None:
                raise
            found = await self._create(held, offered, spec)  # it was there a moment ago
        held.container = found.id
        if found.state == "created":
            await unless_stopped(held, self._heard(held))
            await self._start_once(held, found.id)
        held.state = "running"

    async def _create(self, held: Held, offered: OfferedRun, spec: Container) -> Found:
        held.image = None
        within = offered.spec.timeouts.pull
        image = self._patiently(lambda: self.containers.ensure_image(spec.image, within))
        held.image = await unless_stopped(held, image)
        held.asked = True
        given = None if offered.spec.input is None else compact(offered.spec.input)
        planned = partial(
            Planned, container=spec, env=environment(held, given), input=given.encode() if given else None
        )
        return await self._patiently(lambda: self.containers.create(planned(labels=self.labels(offered, held.fence))))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Try for a while: nothing was started yet. Raises CannotRun engine-down or engine-timeout in the end."""
        for tries in count(1):
            try:
                value = await call()
            except (EngineDown, EngineTimeout) as error:
                log.warning("%s", error)
                self.fitness.unanswered()
                if tries == PATIENCE:
                    code = "engine-timeout" if isinstance(error, EngineTimeout) else "engine-down"
                    raise CannotRun(code, str(error)) from error
            else:
                self.fitness.answered()
                return value
            await self.pause(RETRY_SECONDS)
        raise AssertionError("unreachable")

    def labels(self, offered: OfferedRun, fence: int) -> RunLabels:
        """All that is needed to go on with the run after a restart."""
        spec = offered.spec
        return RunLabels(
            installation=self.installation,
            worker=self.worker_id,
            generation=self.generation,
            namespace=spec.namespace,
            task=offered.task_id,
            run=offered.run_id,
            fence=fence,
            name=spec.name,
            stop=spec.timeouts.stop,
            result=spec.container.result if spec.container else None,
            artifacts=spec.container.artifacts if spec.container else None,
            image=spec.container.image if spec.container else None,
            workflow_id=spec.workflow_id,
            workflow=str(spec.workflow) if spec.workflow else None,
            traceparent=offered.traceparent,
            tracestate=offered.tracestate,
        )

    async def _heard(self, held: Held) -> None:
        """Wait until the platform knows that the run is here: before, it may offer it elsewhere as never taken."""
        while not held.heard.is_set():
            if self.clock() >= held.start_by:
                raise TooLate
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await held.heard.wait()

    def _check_may_start(self, held: Held) -> None:
        """The last step before the start, in the thread that asks the engine: calls wait for a thread."""
        if held.stopping.is_set():
            raise stopped(held)
        if self.clock() >= held.start_by:
            raise TooLate

    async def _start_once(self, held: Held, id: str) -> None:
        try:
            await self.containers.start(id, partial(self._check_may_start, held))
        except (EngineDown, EngineTimeout) as error:
            log.warning("run %s: %s; looking whether it runs", held.run, error)
            await self._until_seen_started(id)

    async def _until_seen_started(self, id: str) -> None:
        """The start may still be under way. What is never seen to start is not started again."""
        for _ in range(START_LOOKS):
            found = await insistently(lambda: self.containers.inspect(id), self.pause)
            if found is None or found.state != "created":
                return
            await self.pause(RETRY_SECONDS)


def environment(held: Held, given: str | None = None) -> dict[str, str]:
    """What every task finds in its environment: its ids, its input if it was `given` one, the trace to continue."""
    env = {"TALLY_TASK_ID": str(held.task), "TALLY_RUN_ID": str(held.run)}
    if given is not None:
        env |= {"TALLY_INPUT": given, "TALLY_INPUT_FILE": INPUT_FILE}
    if held.cause is not None and held.cause.traceparent:
        env["TRACEPARENT"] = held.cause.traceparent
        if held.cause.tracestate:
            env["TRACESTATE"] = held.cause.tracestate
    return env


def stopped(held: Held) -> CannotRun | TooLate:
    if held.unleased:
        return TooLate()
    return CannotRun("stopped-before-start", "it was stopped before its container was started")


async def unless_stopped(held: Held, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. As soon as the run is to be stopped: raises CannotRun stopped-before-start, or TooLate if
    that is because its lease is gone."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(held.stopping.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise stopped(held)
        return task.result()
    finally:
        task.cancel()
        stop.cancel()


async def insistently(call: Callable[[], Awaitable[T]], pause: Pause) -> T:
    """Try until the engine answers: something was started, and its end must be known."""
    while True:
        try:
            return await call()
        except (EngineDown, EngineTimeout) as error:
            log.warning("%s", error)
        await pause(RETRY_SECONDS)
