"""Heartbeats in, lease rows out. A beat is never an event, and never waits behind a report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from consumers.dead_letters import dead_letter
from domain.errors import Rejected, Unreadable
from domain.letters import Letter
from domain.messages import Message
from domain.ports.broker import Delivery
from domain.ports.handling import Beat, BeatStore, DeadLetter, HandlerStore, Writes
from domain.ports.log import NewId
from domain.reports import REPORTS, Heartbeat, Probe


@dataclass(frozen=True, slots=True)
class Beats:
    """Handles the deliveries of the beats queue."""

    queue: str
    beats: BeatStore
    store: HandlerStore
    new_id: NewId
    read: Callable[[Delivery], Letter]
    decode: Callable[[Letter, Mapping[str, type[Message]]], Message]

    async def __call__(self, deliveries: Sequence[Delivery], waited: timedelta) -> list[Delivery]:
        """Record all beats of the batch at once; what is no beat becomes a dead letter."""
        beats: list[Beat] = []
        dead: list[DeadLetter] = []
        for delivery in deliveries:
            try:
                beats.append(self._beat(delivery))
            except Unreadable as unreadable:
                dead.append(dead_letter(self.new_id(), self.queue, delivery, unreadable))
            except Rejected as rejected:
                why = Unreadable(rejected.code, rejected.detail)
                dead.append(dead_letter(self.new_id(), self.queue, delivery, why))
        if beats:
            await self.beats.record(beats)
        if dead:
            await self.store.commit(Writes(dead_letters=dead))
        return []

    def _beat(self, delivery: Delivery) -> Beat:
        match self.decode(self.read(delivery), REPORTS):
            case Heartbeat() as heartbeat:
                return Beat(heartbeat)
            case Probe(probe=probe):
                return Beat(None, probe)
            case other:
                raise Unreadable("not-a-beat", f"{other.TYPE} does not belong on {self.queue}")
