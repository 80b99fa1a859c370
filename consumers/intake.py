"""The loop around a queue's handler: batches, settling, and setting poison aside."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import groupby
from typing import Protocol

from consumers.dead_letters import dead_letter
from domain.errors import Unavailable, Unreadable
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
    """Feeds one subscription to `handle`. Nothing is settled before its outcome is committed.

    A message that came back twice is tried alone from then on: who stands beside the one that kills is not counted on.
    `trial`: shared by the intakes of a process, which die together. `forgiven`: messages whose last try an outage
    ended; it outlives the intake, because an outage ends that too.
    """

    subscription: Subscription
    handle: Handle
    store: HandlerStore
    clock: Clock
    new_id: NewId
    trial: asyncio.Lock = field(default_factory=asyncio.Lock)
    forgiven: set[str] = field(default_factory=set[str])
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
        await self._try_again()
        returned = {_name(delivery) for delivery in deliveries if delivery.redelivered}
        if not returned:
            await self._give(deliveries)
            return
        known = await self.store.redelivered(sorted(returned), 0)
        suspects = {name for name, times in known.items() if times >= ALONE_AFTER - 1}
        for suspected, some in groupby(deliveries, lambda delivery: _name(delivery) in suspects):
            part = list(some)
            if suspected:
                await self._try_each_alone(part)
            else:
                await self._give(part, sorted(returned & set(map(_name, part))))

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
                if delivery.redelivered:
                    await self.store.forget([_name(delivery)])

    async def _try_each_alone(self, suspects: Sequence[Delivery]) -> None:
        for delivery in suspects:
            name = _name(delivery)
            async with self.trial:
                times = await self.store.redelivered([name], 0)
                if times[name] < POISON_AFTER - 1:
                    await self._give([delivery], [name])
                else:
                    await self._set_aside(delivery)

    async def _give(self, part: Sequence[Delivery], returned: Sequence[str] = ()) -> None:
        """Have a part handled and settle it. An outage is nothing that the messages `returned` brought about."""
        if counted := [name for name in returned if name not in self.forgiven]:
            await self.store.redelivered(counted)
        self.forgiven.difference_update(returned)
        now = self.clock.now()
        try:
            left = await self.handle(part, timedelta(0)) if part else []
        except (Unavailable, asyncio.CancelledError):
            self.forgiven.update(returned)
            raise
        self.waiting |= {delivery.tag: (delivery, now) for delivery in left}
        await self._settle(part)
        if harmless := sorted(set(returned) - set(map(_name, left))):
            await self.store.forget(harmless)

    async def _set_aside(self, poison: Delivery) -> None:
        why = Unreadable("poison", f"its handler died {POISON_AFTER} times; look at the body, then replay or drop it")
        letter = dead_letter(self.new_id(), poison.queue, poison, why)
        await self.store.redelivered([_name(poison)])
        await self.store.commit(Writes(dead_letters=[letter]))
        await self._settle([poison])

    async def _settle(self, part: Sequence[Delivery]) -> None:
        """Settle all before the oldest message that still waits, and behind it each that does not."""
        if part:
            self.newest = part[-1]
        if not self.waiting:
            if self.newest is not None:
                await self.subscription.ack(self.newest)
                self.newest = None
            return
        oldest = min(self.waiting)
        if before := [delivery for delivery in part if delivery.tag < oldest]:
            await self.subscription.ack(before[-1])
        for delivery in part:
            if delivery.tag > oldest and delivery.tag not in self.waiting:
                await self.subscription.settle(delivery)


def _name(delivery: Delivery) -> str:
    given = delivery.message_id
    return given if given and given.isprintable() else sha256(delivery.body).hexdigest()
