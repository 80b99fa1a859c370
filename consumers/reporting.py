"""What a worker has to say of its runs: gathered while a message is on its way, sent again until it is committed."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from domain.errors import Unavailable, Unroutable
from domain.ports.broker import Outgoing, Publisher
from domain.ports.log import NewId
from domain.ports.running import BootClock, Spool
from domain.reports import FinishReport, Report, Reports

Pause = Callable[[float], Awaitable[None]]
MOST_REPORTS = 1000
MOST_BYTES = 700 << 10
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
RESEND_SECONDS, LONGEST_RESEND = 15.0, 240.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Waiting:
    """A report not yet known to be committed. `due` None: it is being sent, or waits to be."""

    report: Report
    due: float | None = None
    tries: int = 0
    on_disk: bool = False


@dataclass(slots=True)
class Reporter:
    """Sends reports in order. What tells of a container is on disk before it is sent, so that a kill loses nothing.

    A disk that takes nothing delays no report. Sets `ends_told` when it has sent the end of a run whose container waits
    for the word that this is committed.
    """

    worker_id: str
    publisher: Publisher
    spool: Spool
    new_id: NewId
    clock: BootClock
    pause: Pause = asyncio.sleep
    generation: int = 0
    waiting: dict[UUID, Waiting] = field(default_factory=dict[UUID, Waiting])
    ends_told: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: deque[Report] = field(default_factory=deque[Report])
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._idle.set()

    def add(self, reports: Iterable[Report]) -> None:
        """To be sent with the next message."""
        for report in reports:
            self.waiting[report.id] = Waiting(report)
            self._ready.append(report)
        self._idle.clear()
        self._wake.set()

    async def restore(self) -> list[FinishReport]:
        """Send again what an earlier process of this worker left on disk. Returns it."""
        kept = list(await self.spool.load())
        self.add(kept)
        for report in kept:
            self.waiting[report.id].on_disk = True
        return kept

    def send_overdue(self) -> None:
        """Send again, under the same ids, what was sent long ago and is still not committed."""
        now = self.clock()
        for waiting in self.waiting.values():
            if waiting.due is not None and waiting.due <= now:
                waiting.due = None
                self._ready.append(waiting.report)
        if self._ready:
            self._idle.clear()
            self._wake.set()

    async def settle(self, ids: Sequence[UUID]) -> list[FinishReport]:
        """These reports are committed. Returns the finishes among them."""
        settled = [waiting for known in ids if (waiting := self.waiting.pop(known, None))]
        if on_disk := [waiting.report.id for waiting in settled if waiting.on_disk]:
            await self._forget(on_disk)
        return [waiting.report for waiting in settled if isinstance(waiting.report, FinishReport)]

    async def _forget(self, ids: Sequence[UUID]) -> None:
        """What stays on disk is told again by the next process, and has no power then."""
        try:
            await self.spool.drop(ids)
        except Unavailable as error:
            log.warning("%d reports stay on disk: %s", len(ids), error)

    async def sent(self) -> None:
        """Wait until every report was sent at least once."""
        await self._idle.wait()

    async def run(self) -> None:
        """Until cancelled."""
        pause = FIRST_PAUSE
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._next():
                try:
                    await self._send(batch)
                    pause = FIRST_PAUSE
                except (Unavailable, Unroutable) as error:
                    log.warning("%d reports wait: %s", len(self._ready) + len(batch), error)
                    self._ready.extendleft(reversed(batch))
                    await self.pause(random.uniform(0, pause))
                    pause = min(2 * pause, LONGEST_PAUSE)
            self._idle.set()

    def _next(self) -> list[Report]:
        batch: list[Report] = []
        size = 0
        while self._ready and len(batch) < MOST_REPORTS and size < MOST_BYTES:
            report = self._ready.popleft()
            if report.id in self.waiting:
                batch.append(report)
                size += _size(report)
        return batch

    async def _send(self, batch: list[Report]) -> None:
        await self._write_down(batch)
        message = Reports(worker_id=self.worker_id, generation=self.generation, reports=tuple(batch))
        key, body = f"run.report.{self.worker_id}", message.body()
        await self.publisher.publish([Outgoing("task.reports", key, message.TYPE, self.new_id(), body)])
        told = (waiting for report in batch if (waiting := self.waiting.get(report.id)) and waiting.tries == 0)
        if any(outlives(waiting.report) for waiting in told):
            self.ends_told.set()
        now = self.clock()
        for report in batch:
            if waiting := self.waiting.get(report.id):
                waiting.due = now + min(RESEND_SECONDS * 2**waiting.tries, LONGEST_RESEND)
                waiting.tries += 1

    async def _write_down(self, batch: list[Report]) -> None:
        new = [
            waiting
            for report in batch
            if outlives(report) and (waiting := self.waiting.get(report.id)) and not waiting.on_disk
        ]
        if not new:
            return
        try:
            await self.spool.keep([waiting.report for waiting in new if isinstance(waiting.report, FinishReport)])
        except Unavailable as error:  # the container is there until the report is committed: it can be told anew
            log.warning("%d reports are sent without being on disk: %s", len(new), error)
            return
        for waiting in new:
            waiting.on_disk = True


def outlives(report: Report) -> bool:
    """Whether it tells what nobody could find out again. The end of a run that ran nothing can be had again."""
    return isinstance(report, FinishReport) and bool(report.data.container_id or report.data.error)


def _size(report: Report) -> int:
    """Roughly the bytes that it adds to a message; measured only where it may be large."""
    if isinstance(report, FinishReport) and report.data.result is not None:
        return len(report.data.body())
    return 1500 if isinstance(report, FinishReport) and report.data.error else 400
