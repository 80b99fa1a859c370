"""What a worker does at the platform's word: offers, stops, the sync that answers each beat."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import ValidationError

from consumers.finishing import never_started
from consumers.holdings import QUIET_SECONDS, Held, Holdings
from consumers.registering import Registration
from consumers.reporting import Reporter
from consumers.run_spans import of_nothing
from consumers.running import Runs
from consumers.starting import Start
from domain.messages import Cause
from domain.ports.broker import Delivery
from domain.ports.log import NewId
from domain.ports.running import BootClock
from domain.ports.tracing import Traces
from domain.reports import FinishReport, RunFinish
from domain.work import OfferedRun, Reply, RunOffer, RunStop, WorkerSync

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Orders:
    """Obeys one worker's queue. `runs` None: there is no container engine. `start` None: not registered yet.

    Sets `beat_now` when the platform should hear at once what is held, `register_again` when the generation is over.
    """

    worker_id: str
    holdings: Holdings
    reporter: Reporter
    registration: Registration
    runs: Runs | None
    traces: Traces
    clock: BootClock
    new_id: NewId
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    generation: int = 0
    start: Start | None = None
    beat_now: asyncio.Event = field(default_factory=asyncio.Event)
    register_again: asyncio.Event = field(default_factory=asyncio.Event)
    registered_at: int = 0

    def obey(self, delivery: Delivery) -> None:
        """Take one message to heart; what takes time goes on by itself. Messages not understood are logged."""
        try:
            match delivery.type:
                case RunOffer.TYPE:
                    self._offer(RunOffer.model_validate_json(delivery.body))
                case RunStop.TYPE:
                    self._stop(RunStop.model_validate_json(delivery.body))
                case WorkerSync.TYPE:
                    self._sync(WorkerSync.model_validate_json(delivery.body))
                case Reply.TYPE:
                    self.registration.answered(Reply.model_validate_json(delivery.body))
                case _:
                    log.warning("%s: message of unknown type %s", delivery.queue, delivery.type)
        except ValidationError as error:
            log.warning("%s: %s cannot be read: %s", delivery.queue, delivery.type, error)

    def _offer(self, offer: RunOffer) -> None:
        if offer.generation != self.generation:
            return
        new, renewed = self.holdings.take([one for one in offer.runs if self._takes(one)], self.clock())
        self._run_noops([held for held in new if _executor(held) == "noop"])
        others = [held for held in new if _executor(held) != "noop"]
        for held in others:
            if self.runs is None or self.start is None or _executor(held) != "docker":
                self._finish(held, never_started(held, "executor-not-offered", f"executor {_executor(held)}: not here"))
            else:
                self.spawn(self.runs.see_through(held, self.start))
        for held in renewed:
            self._tell_again(held)
        if others or renewed:
            self.beat_now.set()

    def _takes(self, offered: OfferedRun) -> bool:
        """Whether to answer an offer at all. A new container while none can be started: its offer expires instead."""
        if offered.spec.executor == "noop" or offered.run_id in self.holdings.runs or self.runs is None:
            return True
        return self.runs.fitness.fit

    def _run_noops(self, noops: Sequence[Held]) -> None:
        """Runs of nothing: over as they begin, told in one message."""
        quiet_until = self.clock() + QUIET_SECONDS
        for held in noops:
            offered = held.offered
            assert offered is not None, "it was offered"
            described = partial(of_nothing, offered)
            with self.traces.step(f"run {offered.spec.name}", self._cause(offered), "run", described) as cause:
                held.cause = cause
            finish = RunFinish.model_construct(
                task_id=held.task, run_id=held.run, fence=held.fence, exit_code=0, traceparent=cause.traceparent
            )
            held.state, held.quiet_until = "finished", quiet_until
            held.finish = FinishReport(id=self.new_id(), data=finish)
        self.reporter.add([held.finish for held in noops if held.finish is not None])

    def _stop(self, stop: RunStop) -> None:
        """A run not held never began here if the engine, that was looked through, has nothing of it, or if it was
        leased to this very generation: what an earlier one started cannot be known without an engine."""
        held = self.holdings.runs.get(stop.run_id)
        if held is not None:
            self._stop_held(held, stop)
        elif not self.holdings.has_ended(stop.run_id, stop.fence):
            self.holdings.note_ended(stop.run_id, stop.fence)
            held = Held(stop.task_id, stop.run_id, stop.fence)
            finish = never_started(held, "not-held", f"worker {self.worker_id} does not hold this run")
            never_came = self.runs is not None or stop.generation == self.generation
            finish = finish.model_copy(update={"gone": never_came})
            self.reporter.add([FinishReport(id=self.new_id(), data=finish)])

    def _stop_held(self, held: Held, stop: RunStop) -> None:
        if stop.fence < held.fence:
            return
        if stop.fence > held.fence:
            held.raise_fence(stop.fence)
            self._tell_again(held)
        held.stop(stop.grace, stop.why)

    def _tell_again(self, held: Held) -> None:
        """Under a newer fence, what was told under the old one counts for nothing: tell its start, or its end."""
        if held.finish is not None:
            self._finish(held, held.finish.data.model_copy(update={"fence": held.fence}))
        elif held.state == "running" and self.runs is not None:
            self.runs.report_start(held)

    def _sync(self, sync: WorkerSync) -> None:
        if sync.register_again and sync.beat > self.registered_at:
            self.register_again.set()
            self.beat_now.set()
        if sync.generation != self.generation:
            return
        self.holdings.renew(sync.beat, sync.valid)
        for run in sync.stop:
            if held := self.holdings.runs.get(run):
                held.lease_gone()
        self.spawn(self._settle(sync))

    async def _settle(self, sync: WorkerSync) -> None:
        finishes = await self.reporter.settle(sync.committed)
        for held in self.holdings.settle(finishes, sync.logs_stored):
            self.holdings.forget(held)
            if self.runs is not None and held.asked:
                self.spawn(self.runs.clear_away(held))

    def _finish(self, held: Held, finish: RunFinish) -> None:
        held.state, held.finish = "finished", FinishReport(id=self.new_id(), data=finish)
        self.reporter.add([held.finish])

    def _cause(self, offered: OfferedRun) -> Cause:
        actor = f"worker {self.worker_id}"
        return Cause(str(offered.task_id), str(offered.run_id), actor, offered.traceparent, offered.tracestate)


def _executor(held: Held) -> str:
    return held.offered.spec.executor if held.offered else "docker"
