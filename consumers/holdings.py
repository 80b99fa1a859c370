"""What a worker holds: each run from its offer until the platform has committed its end and stored its output."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal, TypeAlias
from uuid import UUID

from domain.messages import Cause
from domain.ports.running import RunLabels, Signal
from domain.reports import FinishReport, HeldRun
from domain.task import OFFER_SPAN
from domain.work import OfferedRun, StopReason

RunState: TypeAlias = Literal["accepted", "pulling", "running", "finished"]
REMEMBERED = 10_000
"""Runs that ended: offers and stops that are repeated find them here."""
QUIET_SECONDS = 5.0
"""After these a run of nothing, still not committed, is listed: two beats before its offer would be taken back."""
BEATS_KEPT = 30.0
"""Seconds for which a beat's time of sending is known: an offer that names it may come 25 s later, and no later."""
LISTED = 5_000
"""Runs and reports in one beat: within the megabyte that a message may have."""


@dataclass(slots=True)
class Held:
    """One run. `start_by`: on the boot clock, 0 for one that has started. `labels` None: it has no container.

    `asked`: the engine was asked for a container, which may be there although `container` is not known.
    `heard`: a beat that lists it was answered, so that its loss will be told from an offer never taken.
    `finish`: its report, once made; `log_bytes`: what must be stored before its container may go; `quiet_until`: boot
    time up to which its offer alone keeps its lease, so that no beat need list it. `unleased`: its lease is gone.
    `why`: the order to end it, if there was one.
    """

    task: UUID
    run: UUID
    fence: int
    offered: OfferedRun | None = None
    labels: RunLabels | None = None
    start_by: float = 0.0
    state: RunState = "accepted"
    cause: Cause | None = None
    container: str | None = None
    asked: bool = False
    image: str | None = None
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    hastened: asyncio.Event = field(default_factory=asyncio.Event)
    unleased: bool = False
    why: StopReason | None = None
    grace: timedelta = timedelta(0)
    signal: Signal | None = None
    finish: FinishReport | None = None
    committed: bool = False
    log_bytes: int = 0
    log_stored: int = 0
    quiet_until: float = 0.0

    def stop(self, grace: timedelta | None, why: StopReason | None = None) -> None:
        """Ask for its end. None: the run's own stop timeout. Of further orders only a shorter grace counts."""
        own = self.labels.stop if self.labels else timedelta(0)
        wanted = own if grace is None else grace
        if not self.stopping.is_set():
            self.grace, self.why = wanted, why
            self.stopping.set()
        elif why is not None and wanted < self.grace:
            self.grace = wanted
            self.hastened.set()

    def lease_gone(self) -> None:
        """Ask for its end, of which nobody needs to be told if it has not started. Each sync may repeat this."""
        self.unleased = self.unleased or not self.stopping.is_set()
        self.stop(None)

    def raise_fence(self, fence: int) -> None:
        """The same run under a newer lease."""
        self.fence = fence
        self.heard.clear()
        if self.labels is not None:
            self.labels = replace(self.labels, fence=fence)

    @property
    def done(self) -> bool:
        """Nothing of it is needed any more."""
        return self.committed and self.log_stored >= self.log_bytes


class Holdings:
    """All runs held, and until when each may still start."""

    def __init__(self) -> None:
        self.runs: dict[UUID, Held] = {}
        self._ended: OrderedDict[UUID, int] = OrderedDict()
        self._given_back: OrderedDict[UUID, int] = OrderedDict()
        self._beats: OrderedDict[int, tuple[float, frozenset[UUID]]] = OrderedDict()

    def beat_sent(self, beat: int, at: float, listed: Iterable[UUID]) -> None:
        """Note the boot time at which a beat was about to be sent, and the runs it lists."""
        self._beats[beat] = (at, frozenset(listed))
        while next(iter(self._beats.values()))[0] < at - BEATS_KEPT:
            self._beats.popitem(last=False)

    def take(self, offers: Sequence[OfferedRun], now: float) -> tuple[list[Held], list[Held]]:
        """Hold the runs that may still start and are not known yet. Returns these, and those known by an older fence:
        they have the new one now."""
        new: list[Held] = []
        renewed: list[Held] = []
        for offer in offers:
            held = self.runs.get(offer.run_id)
            if held is not None:
                if offer.fence > held.fence:
                    held.raise_fence(offer.fence)
                    held.start_by = max(held.start_by, self._start_by(offer))
                    renewed.append(held)
                continue
            start_by = self._start_by(offer)
            if now < start_by and not self.has_ended(offer.run_id, offer.fence) and not self._is_back(offer):
                held = Held(offer.task_id, offer.run_id, offer.fence, offer, start_by=start_by)
                self.runs[held.run] = held
                new.append(held)
        return new, renewed

    def _start_by(self, offer: OfferedRun) -> float:
        sent = self._beats.get(offer.beat)
        return sent[0] + offer.within.total_seconds() if sent else 0.0

    def renew(self, beat: int, valid: Iterable[UUID]) -> None:
        """A beat was answered: the runs it listed, and whose leases hold, may start for a span from its sending on."""
        at, listed = self._beats.get(beat, (0.0, frozenset()))
        for run in listed.intersection(valid):
            if held := self.runs.get(run):
                held.start_by = max(held.start_by, at + OFFER_SPAN.total_seconds())
                held.heard.set()

    def forget(self, held: Held) -> None:
        """Hold a run no more; under this fence it never starts again."""
        self.runs.pop(held.run, None)
        self.note_ended(held.run, held.fence)

    def give_back(self, held: Held) -> None:
        """Hold a run no more that has not started; under this fence it never does, and no report has said so."""
        self.runs.pop(held.run, None)
        _remember(self._given_back, held.run, held.fence)

    def note_ended(self, run: UUID, fence: int) -> None:
        """Nothing of this run may start under this fence."""
        _remember(self._ended, run, fence)

    def has_ended(self, run: UUID, fence: int) -> bool:
        """Whether this run's end, under this fence or a newer one, was reported."""
        return self._ended.get(run, 0) >= fence

    def _is_back(self, offer: OfferedRun) -> bool:
        return self._given_back.get(offer.run_id, 0) >= offer.fence

    def listed(self, now: float) -> tuple[HeldRun, ...]:
        """What a beat says of the runs held: those under way first."""
        under_way = [held for held in self.runs.values() if held.state != "finished"]
        finished = [held for held in self.runs.values() if held.state == "finished" and held.quiet_until <= now]
        chosen = [*under_way, *finished][:LISTED]
        return tuple(HeldRun(run_id=held.run, fence=held.fence, state=held.state) for held in chosen)

    def containers_wait(self) -> bool:
        """Whether the container of a run that has ended is kept until its report is committed and its output stored."""
        return any(held.asked and held.finish is not None for held in self.runs.values())

    def settle(self, reports: Iterable[FinishReport], stored: Mapping[UUID, int]) -> list[Held]:
        """Note what the platform has committed and stored. Returns the runs that nothing is needed of any more."""
        for report in reports:
            held = self.runs.get(report.data.run_id)
            if held is not None and held.finish is not None and held.finish.id == report.id:
                held.committed = True
        for run, bytes_stored in stored.items():
            if held := self.runs.get(run):
                held.log_stored = max(held.log_stored, bytes_stored)
        return [held for held in self.runs.values() if held.done]


def _remember(fences: OrderedDict[UUID, int], run: UUID, fence: int) -> None:
    fences[run] = max(fence, fences.pop(run, 0))
    while len(fences) > REMEMBERED:
        fences.popitem(last=False)
