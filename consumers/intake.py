"""The loop around a queue's handler: batches, settling, and setting poison aside."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Protocol

from consumers.dead_letters import dead_letter
from domain.errors import Unreadable
from domain.ports.broker import Delivery, Subscription
from domain.ports.handling import HandlerStore, Writes
from domain.ports.log import Clock, NewId

BATCH = 256
RETRY_UNKNOWN = 0.05
ALONE_AFTER, POISON_AFTER = 3, 5


class Handle(Protocol):
    """Gives deliveries their outcome; returns those that must wait for what they name."""

    async def __call__(self, deliveries: Sequence[Delivery], waited: timedelta) -> list[Delivery]: ...


@dataclass(slots=True)
class Intake:
    """Feeds one subscription to `handle`. Nothing is settled before its outcome is committed."""

    subscription: Subscription
    handle: Handle
    store: HandlerStore
    clock: Clock
    new_id: NewId
    waiting: dict[int, tuple[Delivery, datetime]] = field(default_factory=dict[int, tuple[Delivery, datetime]])
    newest: Delivery | None = None

    async def run(self) -> None:
        """Until cancelled. Raises Unavailable in an outage: whoever runs this ends its connections and begins anew,
        so nothing is delivered to it until the store answers, and what was not settled comes again."""
        while True:
            await self.round()

    async def round(self) -> None:
        """One batch: what has arrived, and what waits for a name that was not there."""
        deliveries = await self._arrived()
        if deliveries:
            self.newest = deliveries[-1]
        await self._try_again()
        for part in await self._apart(deliveries):
            now = self.clock.now()
            for delivery in await self.handle(part, timedelta(0)):
                self.waiting[delivery.tag] = (delivery, now)
        await self._settle(deliveries)

    async def _arrived(self) -> Sequence[Delivery]:
        if not self.waiting:
            return await self.subscription.batch(BATCH)
        try:
            async with asyncio.timeout(RETRY_UNKNOWN):
                return await self.subscription.batch(BATCH)
        except TimeoutError:
            return ()

    async def _try_again(self) -> None:
        for delivery, since in list(self.waiting.values()):
            if not await self.handle([delivery], self.clock.now() - since):
                del self.waiting[delivery.tag]

    async def _apart(self, deliveries: Sequence[Delivery]) -> list[list[Delivery]]:
        """The batch in parts: a message that keeps coming back goes alone, then aside, so that no other suffers."""
        returned = {_name(delivery): delivery for delivery in deliveries if delivery.redelivered}
        if not returned:
            return [list(deliveries)] if deliveries else []
        counts = await self.store.redelivered(list(returned))
        poison = [returned[name] for name, count in counts.items() if count >= POISON_AFTER]
        alone = [returned[name] for name, count in counts.items() if ALONE_AFTER <= count < POISON_AFTER]
        await self._set_aside(poison)
        apart = {delivery.tag for delivery in (*poison, *alone)}
        rest = [delivery for delivery in deliveries if delivery.tag not in apart]
        return [*([rest] if rest else []), *([delivery] for delivery in alone)]

    async def _set_aside(self, poison: Sequence[Delivery]) -> None:
        why = Unreadable("poison", f"its handler died {POISON_AFTER} times; look at the body, then replay or drop it")
        letters = [dead_letter(self.new_id(), delivery.queue, delivery, why) for delivery in poison]
        if letters:
            await self.store.commit(Writes(dead_letters=letters))

    async def _settle(self, deliveries: Sequence[Delivery]) -> None:
        """Settle all before the oldest message that still waits."""
        if not self.waiting:
            if self.newest is not None:
                await self.subscription.ack(self.newest)
                self.newest = None
            return
        oldest = min(self.waiting)
        settled = [delivery for delivery in deliveries if delivery.tag < oldest]
        if settled:
            await self.subscription.ack(settled[-1])


def _name(delivery: Delivery) -> str:
    return delivery.message_id or sha256(delivery.body).hexdigest()
