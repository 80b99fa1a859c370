"""The log and its seats in memory: the same order, fencing and all-or-nothing as PostgreSQL's, for unit tests."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from domain.errors import StreamsMoved, Superseded
from domain.ids import derived_id
from domain.ports.log import PAGE_BYTES, Appended, Clock, Page
from domain.recorded import NewEvent, Recorded


@dataclass(slots=True)
class MemoryLog:
    """All events in order of position, and each follower's (turn, position)."""

    clock: Clock
    events: list[Recorded] = field(default_factory=list[Recorded])
    seats: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        """All events of these streams in order; a stream without events is left out."""
        loaded: dict[UUID, list[Recorded]] = {}
        for event in self.events:
            if event.stream in streams:
                loaded.setdefault(event.stream, []).append(event)
        return loaded

    def append(self, events: Sequence[NewEvent]) -> Appended:
        """Store each stream's events if its head is where their versions begin, else leave that stream out."""
        first = {new.stream: new.version for new in reversed(events)}
        heads = {stream: stored[-1].version for stream, stored in self.load(list(first)).items()}
        moved = frozenset(stream for stream, version in first.items() if version != heads.get(stream, 0) + 1)
        positions = [self._store(new) for new in events if new.stream not in moved]
        self.grown.set()
        return Appended(positions, moved)

    def page(self, after: int, limit: int) -> Page:
        """The next events after a position, at most `limit`, and no more once they say PAGE_BYTES."""
        events: list[Recorded] = []
        size = 0
        for event in self.events[after : after + limit]:
            events.append(event)
            size += len(event.body)
            if size >= PAGE_BYTES:
                break
        return Page(events, events[-1].position if events else after)

    def _store(self, new: NewEvent) -> int:
        position = len(self.events) + 1
        event_id, now = derived_id(new.stream, f"event:{new.version}"), self.clock.now()
        self.events.append(
            Recorded(
                position,
                new.stream,
                new.version,
                new.event.TYPE,
                new.event.body(),
                event_id,
                now,
                new.namespace,
                new.cause,
            )
        )
        return position


class MemoryTurn:
    """One transaction of the follower `name`: appends take effect at its end."""

    def __init__(self, log: MemoryLog, name: str, now: datetime) -> None:
        self.log, self.name, self._now = log, name, now
        self.effects: list[Callable[[], object]] = []

    async def now(self) -> datetime:
        """The clock at its begin."""
        return self._now

    async def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        """All events of these streams in order; a stream without events is left out."""
        return self.log.load(streams)

    async def append(self, events: Sequence[NewEvent]) -> None:
        """Store all, at the end. Raises StreamsMoved."""
        if moved := MemoryLog(self.log.clock, list(self.log.events)).append(events).moved:
            raise StreamsMoved(moved)
        self.effects.append(lambda: self.log.append(events))


T = TypeVar("T", bound=MemoryTurn)


class MemorySeat(Generic[T]):
    """The place of the follower `name`; making a second one takes the turn from the first."""

    def __init__(self, log: MemoryLog, name: str, make_turn: Callable[[MemoryLog, str, datetime], T]) -> None:
        self.log, self.name, self._make_turn = log, name, make_turn
        turn, position = log.seats.get(name, (0, 0))
        self._turn = turn + 1
        log.seats[name] = (self._turn, position)

    @property
    def position(self) -> int:
        """The last position dealt with."""
        return self.log.seats[self.name][1]

    async def page(self, limit: int, types: Sequence[str] | None = None) -> Page:
        """See `domain.ports.log.Seat`."""
        self.log.grown.clear()
        if types is None:
            return self.log.page(self.position, limit)
        events = [event for event in self.log.events[self.position :] if event.type in types][:limit]
        end = self.log.events[-1].position if self.log.events else 0
        return Page(events, events[-1].position if len(events) == limit else end)

    @asynccontextmanager
    async def turn(self, up_to: int = 0) -> AsyncGenerator[T]:
        """One fenced transaction, with which every event up to `up_to` is dealt with. Raises Superseded when another
        process has taken the seat."""
        if self.log.seats[self.name][0] != self._turn:
            raise Superseded(f"consumer {self.name}: another process has taken turn {self._turn + 1}")
        turn = self._make_turn(self.log, self.name, self.log.clock.now())
        yield turn
        for effect in turn.effects:
            effect()
        self._turn += 1
        self.log.seats[self.name] = (self._turn, max(self.position, up_to))

    async def wait(self, seconds: float) -> None:
        """Return when the log may have grown; at the latest after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.log.grown.wait()
