"""What the messenger asks before it writes to workers, and what it notes afterwards."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from domain.events import TaskFilled, TaskSubmitted
from domain.ports.log import Turn
from domain.recorded import Recorded
from domain.syncing import LastBeat, Standing


class MessengerTurn(Turn, Protocol):
    """A turn of the messenger: what it has sent is noted together with its position."""

    async def leased(self, leases: Sequence[tuple[UUID, int]]) -> dict[tuple[UUID, int], TaskSubmitted]:
        """The submissions behind those of these leases (run, fence) that are open now."""
        ...

    async def filled(self, where: Sequence[tuple[UUID, int]]) -> dict[UUID, TaskFilled]:
        """The events of these tasks at these versions, by task: what their templates became."""
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
