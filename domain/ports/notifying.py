"""What the notifier needs: a ledger of what is due, in the transaction of its position, and ways to send."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from domain.notifying import Notification, Settled, Tried
from domain.ports.log import AppendingTurn


class NotifierTurn(AppendingTurn, Protocol):
    """The ledger of effects: one row an (event, channel), added once and settled once."""

    async def channels_named(self, streams: Collection[UUID]) -> dict[UUID, Sequence[str]]:
        """The channels that the specs of these tasks name; a task that names none is left out."""
        ...

    async def add(self, notifications: Sequence[Notification]) -> None:
        """Make these due now. One that is there already stays as it is."""
        ...

    async def settle(self, settled: Sequence[Settled]) -> None:
        """Note each try: due again at `again_at`, or never."""
        ...

    async def due(self, room: Mapping[str, int], but: Collection[tuple[UUID, str]]) -> Sequence[Notification]:
        """What is to be sent now, at most `room[channel]` a channel, those due longest first.

        Left out are the keys in `but`. Of channels that `room` does not know, at most 100 are returned.
        """
        ...


class Channel(Protocol):
    """A way to tell somebody something."""

    async def send(self, notification: Notification) -> Tried:
        """Try once, for at most 10 s. Every try of a notification carries the same id: the event's. Never raises."""
        ...
