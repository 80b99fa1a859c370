"""One run's life in a container: start, output, end. Every way out is a report, or the run given back unstarted."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from consumers.capturing import Capture
from consumers.finishing import ended, gone_wrong, never_started, read_artifacts, read_result
from consumers.fitness import Fitness
from consumers.holdings import Held, Holdings
from consumers.reporting import Reporter
from consumers.run_spans import at_end, at_start
from consumers.shipping import LogShipper, Source
from consumers.starting import Start, TooLate, insistently, unless_stopped
from domain.errors import CannotRun
from domain.messages import Cause
from domain.ports.log import NewId
from domain.ports.running import Containers, Found, Left, RunLabels, Signal
from domain.ports.tracing import Traces
from domain.reports import FinishReport, RunError, RunFinish, RunStart, StartReport

KILL_AGAIN = 10.0
"""Seconds between one KILL and the next."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Runs:
    """What the lives of all runs share. `slots`: containers at once; adopted ones are not counted."""

    worker_id: str
    containers: Containers
    holdings: Holdings
    reporter: Reporter
    shipper: LogShipper
    traces: Traces
    new_id: NewId
    slots: asyncio.Semaphore
    fitness: Fitness
    pause: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep)

    async def see_through(self, held: Held, start: Start) -> None:
        """From the offer to the finish report. Never raises; cancelled, it leaves the container as it is."""
        assert held.offered is not None, "what is to be started was offered"
        held.labels = start.labels(held.offered, held.fence)
        try:
            await unless_stopped(held, self.slots.acquire())
        except CannotRun as refused:
            self._send(held, never_started(held, refused.code, refused.detail))
            return
        except TooLate:
            self.holdings.give_back(held)
            return
        try:
            await self._live(held, held.labels, start)
        finally:
            self.slots.release()

    async def go_on(self, held: Held, found: Found) -> None:
        """As `see_through`, from where an earlier process of this worker left a container that was started."""
        held.labels, held.container, held.image, held.state = found.labels, found.id, found.image, "running"
        await self._live(held, found.labels, None)

    async def ship_again(self, held: Held, found: Found) -> None:
        """Hand over the output of a container whose end an earlier process has reported."""
        try:
            await self._capture(held, found.labels, found.id).until_end()
        except CannotRun as error:
            log.warning("run %s: its output cannot be read: %s", held.run, error)

    async def clear_away(self, held: Held) -> None:
        """Remove the container of a run of which nothing is needed any more, or which was never started."""
        made = held.container or (await self._created_unseen(held) if held.asked else None)
        if made is None:
            return
        remove, kill = partial(self.containers.remove, made), partial(self.containers.signal, made)
        while not await insistently(remove, self.pause):
            await insistently(partial(kill, "KILL"), self.pause)
            await self.pause(1.0)

    async def _created_unseen(self, held: Held) -> str | None:
        """The container of a run whose creation failed half-way, or was not answered."""
        if held.labels is None:
            return None
        labelled = partial(self.containers.labelled, held.labels.installation, self.worker_id)
        found = await insistently(labelled, self.pause)
        own = (one.id for one in found if one.labels.run == held.run and one.labels.fence <= held.fence)
        return next(own, None)

    def report_start(self, held: Held) -> None:
        """Tell that its container was started."""
        start = RunStart(
            task_id=held.task,
            run_id=held.run,
            fence=held.fence,
            container_id=held.container,
            image_digest=held.image,
            traceparent=held.cause.traceparent if held.cause else None,
        )
        self.reporter.add([StartReport(id=self.new_id(), data=start)])

    async def _live(self, held: Held, labels: RunLabels, start: Start | None) -> None:
        try:
            with self.traces.step(
                f"run {labels.name}", self._cause(labels), "run", partial(at_start, labels)
            ) as held.cause:
                self._send(held, await self._ended(held, labels, start))
        except TooLate:
            log.warning("run %s: given back, it may not start any more", held.run)
            self.holdings.give_back(held)
            await self.clear_away(held)
        except CannotRun as refused:
            started = held.state == "running"
            told = gone_wrong(held, refused) if started else never_started(held, refused.code, refused.detail)
            self._send(held, told)
        except Exception as error:
            log.exception("run %s", held.run)  # one run's defect never ends the worker
            self._send(held, gone_wrong(held, error))

    async def _ended(self, held: Held, labels: RunLabels, start: Start | None) -> RunFinish:
        """How it finished; its span is told too, or what it was broken off by."""
        try:
            if start is not None:
                await start(held)
            self.report_start(held)
            finish = await self._until_end(held, labels)
        except Exception as error:
            self.traces.note(partial(at_end, held, error))
            raise
        self.traces.note(partial(at_end, held, finish))
        return finish

    async def _until_end(self, held: Held, labels: RunLabels) -> RunFinish:
        assert held.container is not None, "it was started"
        capture = self._capture(held, labels, held.container)
        stopper = asyncio.create_task(self._stop_when_asked(held, held.container))
        try:
            found = await capture.until_end()
        finally:
            stopper.cancel()
        held.log_bytes = capture.size
        finish = ended(held, found, await capture.end())
        if found is None or found.exit_code is None or finish.error is not None:
            return finish
        return finish.model_copy(update=await self._left(found, labels))

    async def _left(self, found: Found, labels: RunLabels) -> dict[str, Any]:
        """Files that cannot be used fail a run that succeeded; one that failed has its own reason."""
        try:
            result = await self._file(found, labels.result, "result")
            artifacts = await self._file(found, labels.artifacts, "artifacts")
            return {"result": read_result(result), "artifacts": read_artifacts(artifacts)}
        except CannotRun as refused:
            error = RunError(code=refused.code, detail=refused.detail[:1024])
            return {"error": error} if found.exit_code == 0 else {}

    async def _file(self, found: Found, path: str | None, what: Left) -> bytes | None:
        if path is None:
            return None
        return await insistently(partial(self.containers.read_file, found.id, path, what), self.pause)

    async def _stop_when_asked(self, held: Held, id: str) -> None:
        """TERM, then KILL again and again; the container's end ends this."""
        await held.stopping.wait()
        await self._signal(held, id, "TERM")
        await self._grace(held)
        while True:
            await self._signal(held, id, "KILL")
            await self.pause(KILL_AGAIN)

    async def _signal(self, held: Held, id: str, signal: Signal) -> None:
        held.signal = signal
        await insistently(partial(self.containers.signal, id, signal), self.pause)

    async def _grace(self, held: Held) -> None:
        """Until the first of the graces that were given is over, each from its own order on."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self.pause(held.grace.total_seconds()))]
        try:
            while True:
                hastened = asyncio.ensure_future(held.hastened.wait())
                waits.append(hastened)
                done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if hastened not in done or len(done) > 1:
                    return
                held.hastened.clear()
                waits[-1] = asyncio.ensure_future(self.pause(held.grace.total_seconds()))
        finally:
            for one in waits:
                one.cancel()

    def _capture(self, held: Held, labels: RunLabels, id: str) -> Capture:
        source = Source(labels.namespace, held.run, held.fence)
        return Capture(self.containers, self.shipper, source, id, self.pause)

    def _cause(self, labels: RunLabels) -> Cause:
        actor = f"worker {self.worker_id}"
        return Cause(str(labels.task), str(labels.run), actor, labels.traceparent, labels.tracestate)

    def _send(self, held: Held, finish: RunFinish) -> None:
        held.state, held.finish = "finished", FinishReport(id=self.new_id(), data=finish)
        self.reporter.add([held.finish])
