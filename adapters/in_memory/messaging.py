"""What the messenger asks, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from adapters.in_memory.event_log import MemoryLog, MemoryTurn
from domain.events import RunTimingOut, TaskCancelling, TaskFilled, TaskSubmitted
from domain.recorded import Recorded
from domain.syncing import LastBeat, Standing


@dataclass(slots=True)
class Desk:
    """`leases`: run -> (fence, task). `beats` and `standings` by worker; `answers`: the last beat answered."""

    leases: dict[UUID, tuple[int, UUID]] = field(default_factory=dict[UUID, tuple[int, UUID]])
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

    async def leased(self, leases: Sequence[tuple[UUID, int]]) -> dict[tuple[UUID, int], TaskSubmitted]:
        """The submissions behind those of these leases (run, fence) that are open now."""
        found: dict[tuple[UUID, int], TaskSubmitted] = {}
        for run, fence in leases:
            open_fence, task = self._desk.leases.get(run, (0, run))
            if open_fence == fence:
                submitted = self.log.load([task])[task][0].event()
                assert isinstance(submitted, TaskSubmitted), "a task's stream begins with its submission"
                found[run, fence] = submitted
        return found

    async def filled(self, where: Sequence[tuple[UUID, int]]) -> dict[UUID, TaskFilled]:
        """The events of these tasks at these versions, by task: what their templates became."""
        events = {task: self.log.load([task])[task][version - 1].event() for task, version in where}
        return {task: event for task, event in events.items() if isinstance(event, TaskFilled)}

    async def stopping(self, leases: Sequence[tuple[UUID, int]]) -> Sequence[Recorded]:
        """For those of these leases that are open: the last event that ordered the run's end."""
        found: dict[UUID, Recorded] = {}
        for run, fence in leases:
            open_fence, task = self._desk.leases.get(run, (0, run))
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
