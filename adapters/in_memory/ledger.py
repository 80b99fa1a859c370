"""The notifier's ledger in memory."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from adapters.in_memory.event_log import MemoryLog, MemoryTurn
from domain.events import TaskSubmitted
from domain.notifying import Notification, Settled

STRANGERS = 100


@dataclass(frozen=True, slots=True)
class Row:
    """A notification and when it is due (None: settled)."""

    notification: Notification
    next_at: datetime | None
    problem: str | None = None


class Ledger(dict[tuple[UUID, str], Row]):
    """Rows by (event, channel), in the order they were added."""

    def turn(self, log: MemoryLog, name: str, now: datetime) -> "NotifierMemoryTurn":
        """A turn that changes this ledger when it commits."""
        return NotifierMemoryTurn(self, log, name, now)


class NotifierMemoryTurn(MemoryTurn):
    """A turn of the notifier. Changes are seen inside it at once and kept if it commits."""

    def __init__(self, ledger: Ledger, log: MemoryLog, name: str, now: datetime) -> None:
        super().__init__(log, name, now)
        self._rows = dict(ledger)
        self.effects.append(lambda: ledger.update(self._rows))

    async def channels_named(self, streams: Collection[UUID]) -> dict[UUID, Sequence[str]]:
        """The channels that the specs of these tasks name; a task that names none is left out."""
        firsts = {stream: events[0].event() for stream, events in self.log.load(list(streams)).items()}
        return {
            stream: first.spec.notify
            for stream, first in firsts.items()
            if isinstance(first, TaskSubmitted) and first.spec.notify
        }

    async def add(self, notifications: Sequence[Notification]) -> None:
        """Make these due now. One that is there already stays as it is."""
        for one in notifications:
            self._rows.setdefault(one.key, Row(one, self._now))

    async def settle(self, settled: Sequence[Settled]) -> None:
        """Note each try: due again at `again_at`, or never."""
        for one in settled:
            row = self._rows[one.notification.key]
            if row.next_at is not None:
                tried = replace(row.notification, tries=row.notification.tries + 1)
                self._rows[tried.key] = Row(tried, one.again_at, one.problem)

    async def due(self, room: Mapping[str, int], but: Collection[tuple[UUID, str]]) -> Sequence[Notification]:
        """What is to be sent now, at most `room[channel]` a channel, those due longest first."""
        waiting = [row for row in self._rows.values() if row.next_at is not None and row.notification.key not in but]
        ready = sorted((row.next_at, n) for n, row in enumerate(waiting) if row.next_at and row.next_at <= self._now)
        due: list[Notification] = []
        for one in (waiting[n].notification for _, n in ready):
            if sum(other.channel == one.channel for other in due) < room.get(one.channel, 0):
                due.append(one)
        strangers = [row.notification for row in waiting if row.notification.channel not in room]
        return [*due, *strangers[:STRANGERS]]
