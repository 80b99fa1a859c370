"""A seat of the conductor's that dies at a chosen statement."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.ports.conducting import ConductorTurn
from domain.ports.log import Page, Seat
from domain.recorded import NewEvent


class Killed(Exception):
    """The process is gone."""


@dataclass(slots=True)
class Fuse:
    """Kills after so many statements. `intrude` writes to the log just before the round appends, once; `overtake` just
    behind the first page."""

    statements: int = 10**6
    intrude: Callable[[], Awaitable[None]] | None = None
    overtake: Callable[[], Awaitable[None]] | None = None

    def burn(self) -> None:
        self.statements -= 1
        if self.statements < 0:
            raise Killed


class FusedTurn:
    """A turn whose every statement burns the fuse."""

    def __init__(self, turn: ConductorTurn, fuse: Fuse) -> None:
        self._turn, self._fuse = turn, fuse

    async def now(self) -> datetime:
        return await self._turn.now()

    def __getattr__(self, name: str) -> Any:
        self._fuse.burn()
        return getattr(self._turn, name)

    async def append(self, events: Sequence[NewEvent]) -> None:
        if self._fuse.intrude:
            intrude, self._fuse.intrude = self._fuse.intrude, None
            await intrude()
        self._fuse.burn()
        await self._turn.append(events)


@dataclass(slots=True)
class FusedSeat:
    """A seat that dies with its fuse: within a turn, or right after its commit."""

    seat: Seat[ConductorTurn]
    fuse: Fuse

    async def page(self, limit: int, types: Sequence[str] | None = None) -> Page:
        page = await self.seat.page(limit, types)
        if self.fuse.overtake:
            overtake, self.fuse.overtake = self.fuse.overtake, None
            await overtake()
        return page

    @asynccontextmanager
    async def turn(self, up_to: int = 0) -> AsyncGenerator[Any]:
        async with self.seat.turn(up_to) as turn:
            yield FusedTurn(turn, self.fuse)
        self.fuse.burn()

    async def wait(self, seconds: float) -> None:
        """Nobody waits for a conductor that is being killed."""
