"""The event log as its followers see it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from domain.recorded import NewEvent, Recorded

PAGE_BYTES = 16 << 20
"""A page that says as much is full, however few its events are: one may say a megabyte."""


class Clock(Protocol):
    """The present, UTC."""

    def now(self) -> datetime: ...


class NewId(Protocol):
    """Fresh UUIDs of version 7, in order."""

    def __call__(self) -> UUID: ...


@dataclass(frozen=True, slots=True)
class Page:
    """Events after a follower's position. `up_to`: every event at or below it that the follower asked for is here.

    `heard`: the channels that gave a hint since the page before; none when only time has passed.
    """

    events: Sequence[Recorded]
    up_to: int
    heard: frozenset[str] = frozenset()

    def full(self, limit: int) -> bool:
        """Whether there may be more: it has as many events as were asked for, or says as much as a page may."""
        return len(self.events) >= limit or sum(len(event.body) for event in self.events) >= PAGE_BYTES


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of an append. `positions`: of the events stored, in the order given; `moved`: streams left out
    because others had appended to them since they were loaded."""

    positions: Sequence[int]
    moved: frozenset[UUID]


class Turn(Protocol):
    """One transaction of a fenced follower: effects and position together, or nothing."""

    async def now(self) -> datetime:
        """The database's clock at its begin, UTC."""
        ...


class AppendingTurn(Turn, Protocol):
    """A turn that may add events, as its last statement."""

    async def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        """All events of these streams in order; a stream without events is left out."""
        ...

    async def append(self, events: Sequence[NewEvent]) -> None:
        """Store all. Raises StreamsMoved, here or when the turn ends, if the head of a stream is not where the versions
        given begin: then nothing of the turn is kept."""
        ...


T_co = TypeVar("T_co", covariant=True)


class Seat(Protocol[T_co]):
    """A follower's place in the log, held by one process at a time; the others stand by."""

    async def page(self, limit: int, types: Sequence[str] | None = None) -> Page:
        """The next events after the position, at most `limit`, of these types. Changes nothing.

        Without `types` all, and no more once they say PAGE_BYTES.
        """
        ...

    def turn(self, up_to: int = 0) -> AbstractAsyncContextManager[T_co]:
        """One transaction: commits at the end of the block, rolls back if it raises.

        Every event up to position `up_to` is dealt with once it commits; a position never goes back. Raises Superseded
        when another instance has the turn.
        """
        ...

    async def wait(self, seconds: float) -> None:
        """Return when the log, or what this follower watches, may have grown; at the latest after `seconds`."""
        ...
