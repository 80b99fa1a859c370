"""The conductor: events become rows, rows become events of other streams. One position, one turn, one transaction.

A round reads a page, brings the rows up to it, decides what they call for on the present heads, takes away the rows
that are dealt with, and appends. Whatever is left, because a round has its limits or because a stream had moved, is
still in the rows, and is decided in the next round.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar
from uuid import UUID

from consumers import dispatcher, reusing, saga, scheduling, spreading, timekeeper
from consumers.deciding import Draft, Wish
from consumers.noting import TYPES, notes_of
from consumers.offering import Offers
from consumers.timekeeper import Overdue, Probes
from domain.dispatching import Waiting
from domain.errors import StreamsMoved
from domain.events import RunLeased, TaskQueued
from domain.offering import Leased
from domain.ports.conducting import ConductorTurn, Dealt, Survey, Timer
from domain.ports.log import Page, Seat
from domain.ports.tracing import Traces
from domain.recorded import NewEvent, Recorded
from domain.task import Cancel

PAGE = 1000
IDLE_SECONDS = 1.0
AGENDA_LIMIT = 50
CLOSING_LIMIT = 40
GRANT_LIMIT = 400
MOST_EVENTS = 1000
"""Of a round: one for each of five kinds on the agenda and each task crowded out, one more for each of 40 tasks that
are filled, 100 for schedules, three for a lease that is closed, one for a worker that is lost: 600 at most. Of what
they leave, new children may take one half, and grants, or tasks that take a result instead of one, the other."""
PARTITIONS_EVERY = timedelta(days=1)

T = TypeVar("T")


@dataclass(slots=True)
class Conductor:
    """Follows the log from `seat`. It remembers nothing that counts: another may go on after any round, or within.

    What it has leased is offered at once; whatever is lost of that is made good by the messenger.
    `base_image`: the image of the built-in task types, for tasks of schedules.
    """

    seat: Seat[ConductorTurn]
    traces: Traces
    probes: Probes
    offers: Offers
    base_image: str = ""
    _look_again: bool = True
    _next_due: datetime | None = None
    _now: datetime | None = None
    _partitions_due: datetime | None = None
    _echoes: frozenset[tuple[UUID, int]] = frozenset()
    _next_step: float = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Conduct until `stop` is set; a round that has begun is ended first."""
        beside = [asyncio.create_task(work, name="beside") for work in (self.probes.run(), self.offers.run())]
        try:
            while not stop.is_set():
                page = await self.seat.page(PAGE, TYPES)
                if self._only_echoes(page) or not await self._step_and_note_when(page):
                    await self.seat.wait(max(self._next_step - _time(), 0.0))
                for one in beside:
                    if one.done():
                        one.result()
        finally:
            for one in beside:
                one.cancel()

    async def _step_and_note_when(self, page: Page) -> bool:
        more = await self.step(page)
        self._next_step = _time() + (0.0 if more else self._idle_seconds())
        return more

    def _only_echoes(self, page: Page) -> bool:
        """Whether the page holds nothing but events of the last round, whose rows are as they should be already.

        They are read again, and passed over, with the next page that says more, or when a step is due by time.
        """
        return bool(page.events) and _time() < self._next_step and not self._unheard(page)

    def _unheard(self, page: Page) -> list[Recorded]:
        """The page without its echoes; one behind another event of its stream stays: it says what became of that."""
        unheard: list[Recorded] = []
        streams: set[UUID] = set()
        for event in page.events:
            if event.stream in streams or (event.stream, event.version) not in self._echoes:
                unheard.append(event)
                streams.add(event.stream)
        return unheard

    async def step(self, page: Page) -> bool:
        """One round; True says that there is more to do at once. Streams that moved meanwhile wait for the next."""
        await self._make_partitions()
        whole, page = page, spreading.readable(page)
        left: frozenset[UUID] = frozenset()
        while True:
            try:
                async with self.seat.turn(page.up_to) as turn:
                    done = await self._round(turn, self._unheard(page), left)
                    self._now = await turn.now()
                break
            except StreamsMoved as moved:
                if moved.streams <= left:
                    raise
                left |= moved.streams
        self.offers.tell(done.leased)
        if done.overdue.new_probe:
            self.probes.send(done.overdue.clock.probe)
        self._look_again = bool(left) or len(done.overdue.expired) + len(done.overdue.silent) >= CLOSING_LIMIT
        self._echoes = done.echoes
        return done.calls_for_more or bool(left) or len(page.events) >= PAGE or page is not whole

    async def _round(self, turn: ConductorTurn, events: Sequence[Recorded], left: frozenset[UUID]) -> "Done":
        if events:
            await turn.note(await notes_of(turn, events))
        survey = await turn.survey(AGENDA_LIMIT, GRANT_LIMIT)
        self._next_due = survey.next_due
        overdue = await timekeeper.look(turn, survey.clock, CLOSING_LIMIT, self._look_again)
        now = await turn.now()
        crowded = dispatcher.crowded(survey)
        queued = dispatcher.first(survey, crowded, now, overdue.clock.seconds)[:GRANT_LIMIT]
        out = dict(islice(crowded.items(), AGENDA_LIMIT))
        needs = {*(task.task for task in queued), *out, *scheduling.needs(survey.agenda)}
        needs |= reusing.needs(survey.agenda) | saga.needs(survey.agenda) | timekeeper.needs(survey.agenda, overdue)
        chunks = spreading.chunks(survey.agenda)
        needs |= spreading.needs(chunks)
        loaded = dict(await turn.load(sorted(needs)))
        readings = saga.reading(survey.agenda, loaded)
        further = {stream for one in readings.values() for stream in one.values()} | spreading.read(chunks, loaded)
        if further := (further | timekeeper.awaited(survey.agenda, loaded)) - loaded.keys():
            loaded |= await turn.load(sorted(further))
        if doubtful := dispatcher.doubtful(survey, out, loaded) - loaded.keys():
            loaded |= await turn.load(sorted(doubtful))
        out = dispatcher.still_crowded(survey, out, loaded) if out else out
        plans = await scheduling.look(turn, survey.agenda, loaded, now)
        draft = Draft(loaded, left, now, self.traces)
        fired = scheduling.carry_out(draft, plans, self.base_image)
        dealt = _decide(draft, survey, overdue, Chosen(queued, out, readings, chunks))
        dealt = replace(dealt, rested=fired.rested, opened=fired.opened)
        if not dealt.nothing:
            await turn.deal(dealt)
            await turn.append(draft.events)
        return Done(overdue, dealt, draft.events, draft.leased, len(survey.agenda.settled))

    async def _make_partitions(self) -> None:
        if self._partitions_due is None or (self._now is not None and self._now >= self._partitions_due):
            async with self.seat.turn() as turn:
                await turn.make_partitions()
                self._partitions_due = await turn.now() + PARTITIONS_EVERY

    def _idle_seconds(self) -> float:
        if self._next_due is None or self._now is None:
            return IDLE_SECONDS
        return min(max((self._next_due - self._now).total_seconds(), 0.0), IDLE_SECONDS)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a round looks at beside its agenda: tasks of the queue that may be given out, tasks that are crowded out,
    the tasks that the templates of others read, and the children that may be next."""

    queued: Sequence[Waiting]
    out: Mapping[UUID, Cancel]
    readings: saga.Readings
    chunks: Sequence[spreading.Chunk]


@dataclass(frozen=True, slots=True)
class Done:
    """What a round has done: rows that are dealt with, of `settled` settled tasks that it saw, and events it added,
    `leased` the leases among them."""

    overdue: Overdue
    dealt: Dealt
    added: Sequence[NewEvent]
    leased: Sequence[Leased]
    settled: int

    @property
    def echoes(self) -> frozenset[tuple[UUID, int]]:
        """(stream, version) of events that change no row: grants, and what queued a task that was granted at once."""
        granted = {new.stream for new in self.added if isinstance(new.event, RunLeased)}
        queued = (new for new in self.added if isinstance(new.event, TaskQueued | RunLeased))
        return frozenset((new.stream, new.version) for new in queued if new.stream in granted)

    @property
    def calls_for_more(self) -> bool:
        """Whether rows are left, or will come of what was added."""
        if self.dealt.nothing:
            return False
        if self.settled > len(self.dealt.settled) or not self.dealt.only_grants(AGENDA_LIMIT, GRANT_LIMIT):
            return True
        echoes = self.echoes
        return any((new.stream, new.version) not in echoes for new in self.added if new.event.TYPE in TYPES)


def _decide(draft: Draft, survey: Survey, overdue: Overdue, chosen: Chosen) -> Dealt:
    """Cancellations first, so that nothing cancelled is freed or granted; grants last, so that they reach the freed."""
    agenda, loaded = survey.agenda, draft.loaded
    cancelled = _dealt(draft, zip(agenda.cancels, saga.cancels(agenda, loaded), strict=True))
    settled = _dealt(draft, saga.settlements(agenda, loaded, chosen.readings))
    complete = _dealt(draft, ((one, saga.finish(one, loaded)) for one in agenda.complete))
    failing = _dealt(draft, ((one, saga.failure(*one, loaded)) for one in agenda.failing))
    due = [(one, timekeeper.due(one, loaded, draft.now)) for one in agenda.due]
    timed = _dealt(draft, ((one, wish) for one, wish in due if isinstance(wish, Wish)))
    closed = _dealt(draft, ((one, timekeeper.closing(one, loaded)) for one in overdue.expired))
    lost = _dealt(draft, ((one, timekeeper.losing(one, loaded)) for one in overdue.silent))
    crowded_out = [task for task, wish in dispatcher.crowding(chosen.out, loaded) if draft.decide(wish)]
    spread = spreading.spread(draft, chosen.chunks, (MOST_EVENTS - len(draft.events)) // 2)
    reused = _dealt(draft, ((one, reusing.reuse(one, loaded)) for one in agenda.hits))
    limit = min(GRANT_LIMIT - len(reused), MOST_EVENTS - len(draft.events))
    granted = dispatcher.grant(draft, survey, chosen.queued, overdue.clock, limit)
    return Dealt(
        settled=[one.task for one in settled],
        cancelled=[task for task, _ in cancelled],
        complete=[one.workflow for one in complete],
        failing=[workflow for workflow, _ in failing],
        timed=[*timed, *(one for one, wish in due if wish is None)],
        again=[wish for _, wish in due if isinstance(wish, Timer)],
        closed=[one.run_id for one in closed],
        lost=[(one.worker_id, one.generation) for one in lost],
        unqueued=granted.unqueued,
        leases=granted.leases,
        granted=granted.chosen,
        crowded_out=crowded_out,
        starts=granted.starts,
        reused=[one.task for one in reused],
        missed=[one.task for one in agenda.hits if reusing.is_gone(one, loaded)],
        spread=spread,
    )


def _dealt(draft: Draft, wishes: Iterable[tuple[T, Wish | None]]) -> list[T]:
    """The rows whose wish was decided, also if it came to nothing; the others stay."""
    return [row for row, wish in wishes if wish is not None and draft.decide(wish) is not None]


def _time() -> float:
    return asyncio.get_running_loop().time()
