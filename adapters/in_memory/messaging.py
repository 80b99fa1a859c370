"""What the messenger asks, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from adapters.in_memory.event_log import MemoryLog, MemoryTurn
from domain.events import RunLeased, RunTimingOut, TaskCancelling, TaskFilled, TaskSubmitted
from domain.offering import OF_A_RUN, Leased
from domain.ports.messaging import UNTAKEN_BYTES, Untaken
from domain.recorded import Recorded
from domain.syncing import LastBeat, Standing


@dataclass(slots=True)
class Desk:
    """`leases`: run -> (fence, task, generation). `taken`: runs that a beat has listed. `beats` and `standings` by
    worker; `answers`: the last beat answered."""

    leases: dict[UUID, tuple[int, UUID, int]] = field(default_factory=dict[UUID, tuple[int, UUID, int]])
    taken: set[UUID] = field(default_factory=set[UUID])
    beats: dict[str, LastBeat] = field(default_factory=dict[str, LastBeat])
    standings: dict[str, Standing] = field(default_factory=dict[str, Standing])
    answers: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def turn(self, log: MemoryLog, name: str, now: datetime) -> "MessengerMemoryTurn":
        """A turn that changes this desk when it commits."""
        return MessengerMemoryTurn(self, log, name, now)


class MessengerMemoryTurn(MemoryTurn):
    """A turn of the messenger."""

    def __init__(self, desk: Desk, log: MemoryLog, name: str, now: datetime) -> None:
        super().__init__(log, name, now)
        self._desk = desk

    async def open(self, leases: Sequence[tuple[UUID, int]]) -> Mapping[tuple[UUID, int], int]:
        """Those of these leases (run, fence) that are open now, with the generation of the worker that each is for."""
        found = {run: self._desk.leases[run] for run, _ in leases if run in self._desk.leases}
        return {(run, fence): found[run][2] for run, fence in leases if run in found and found[run][0] == fence}

    async def untaken(self, since: timedelta, after: UUID, limit: int) -> Untaken:
        """The open leases that are older than `since`, of runs that no beat has listed and of which nothing else is
        known, no start, no end, nor that they are to end; by run, at most `limit` after the run `after`, and no more
        once what their tasks run says UNTAKEN_BYTES."""
        leases = sorted((run, task) for run, (_, task, _) in self._desk.leases.items() if run > after)
        waiting = [task for run, task in leases if run not in self._desk.taken]
        found = [(self.log.load([task])[task], self._last(task)) for task in waiting]
        untaken = [
            (events, last)
            for events, last in found
            if last.type == RunLeased.TYPE and last.recorded_at <= self._now - since
        ]
        page, size = list[Leased](), 0
        for events, last in untaken[:limit]:
            if size >= UNTAKEN_BYTES:
                break
            page.append(_leased(events, last))
            size += _weight(events, page[-1].lease)
        return Untaken(page, len(page) == limit or len(page) < len(untaken))

    def _last(self, task: UUID) -> Recorded:
        return [recorded for recorded in self.log.load([task])[task] if recorded.type in OF_A_RUN][-1]

    async def stopping(self, leases: Sequence[tuple[UUID, int]]) -> Sequence[Recorded]:
        """For those of these leases that are open: the last event that ordered the run's end."""
        found: dict[UUID, Recorded] = {}
        for run, fence in leases:
            open_fence, task, _ = self._desk.leases.get(run, (0, run, 0))
            for recorded in self.log.load([task]).get(task, ()) if open_fence == fence else ():
                event = recorded.event()
                if isinstance(event, TaskCancelling | RunTimingOut) and (event.run_id, event.fence) == (run, fence):
                    found[run] = recorded
        return list(found.values())

    async def unanswered(self, limit: int) -> Sequence[tuple[LastBeat, Standing]]:
        """Last beats without an answer, those that wait longest first, with what is known of their workers."""
        waiting = [
            beat
            for worker, beat in self._desk.beats.items()
            if self._desk.answers.get(worker, (0, -1)) < (beat.generation, beat.beat)
        ]
        return [(beat, self._desk.standings.get(beat.worker_id, Standing())) for beat in waiting[:limit]]

    async def answered(self, beats: Sequence[LastBeat]) -> None:
        """These beats have their answer. A later beat of the same worker still waits for its own."""
        answers = {beat.worker_id: (beat.generation, beat.beat) for beat in beats}
        self.effects.append(lambda: self._desk.answers.update(answers))


def _leased(events: Sequence[Recorded], recorded: Recorded) -> Leased:
    submitted, lease = events[0].event(), recorded.event()
    assert isinstance(submitted, TaskSubmitted), "a task's stream begins with its submission"
    assert isinstance(lease, RunLeased), "other events are no leases"
    filled = events[lease.filled - 1].event() if lease.filled else None
    work = filled if isinstance(filled, TaskFilled) else submitted.work
    return Leased(recorded.stream, recorded.namespace, lease, submitted, work, recorded.following("messenger"))


def _weight(events: Sequence[Recorded], lease: RunLeased) -> int:
    """Bytes of what the task runs: as submitted, and as filled where it has templates."""
    return len(events[0].body) + (len(events[lease.filled - 1].body) if lease.filled else 0)
