"""What the messenger asks before it writes to workers, and what it notes afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from domain.offering import Leased
from domain.ports.log import Turn
from domain.recorded import Recorded
from domain.syncing import LastBeat, Standing

UNTAKEN_BYTES = 4 << 20
"""So much at once of what tasks run: one may say a quarter of a megabyte."""


@dataclass(frozen=True, slots=True)
class Untaken:
    """Leases that nobody has taken. `more`: there may be others behind them."""

    leases: Sequence[Leased]
    more: bool = False


class MessengerTurn(Turn, Protocol):
    """A turn of the messenger: what it has sent is noted together with its position."""

    async def open(self, leases: Sequence[tuple[UUID, int]]) -> Mapping[tuple[UUID, int], int]:
        """Those of these leases (run, fence) that are open now, with the generation of the worker that each is for."""
        ...

    async def untaken(self, since: timedelta, after: UUID, limit: int) -> Untaken:
        """The open leases that are older than `since`, of runs that no beat has listed and of which nothing else is
        known, no start, no end, nor that they are to end; by run, at most `limit` after the run `after`, and no more
        once what their tasks run says UNTAKEN_BYTES."""
        ...

    async def stopping(self, leases: Sequence[tuple[UUID, int]]) -> Sequence[Recorded]:
        """For those of these leases (run, fence) that are open: the last event that ordered the run's end, a
        `TaskCancelling` or a `RunTimingOut`. None for a run that may go on."""
        ...

    async def unanswered(self, limit: int) -> Sequence[tuple[LastBeat, Standing]]:
        """Last beats without an answer, those that wait longest first, with what is known of their workers."""
        ...

    async def answered(self, beats: Sequence[LastBeat]) -> None:
        """These beats have their answer. A later beat of the same worker still waits for its own."""
        ...
