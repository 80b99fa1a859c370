"""The loop around a queue's handler: batches, settling, and setting poison aside."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import groupby
from typing import Protocol
from uuid import UUID

from consumers.dead_letters import dead_letter
from consumers.handler import OVERTAKING
from domain.errors import Unavailable, Unreadable
from domain.ids import derived_id
from domain.ports.broker import Delivery, Subscription
from domain.ports.handling import HandlerStore, Writes
from domain.ports.log import Clock

BATCH = 256
LONG_AGO = datetime.min.replace(tzinfo=UTC)
RETRY_UNKNOWN = timedelta(milliseconds=50)
WAITING = 32
"""How many may wait for that at once: who names what never comes must not take the room of others."""
ALONE_AFTER, POISON_AFTER = 3, 5
FORGIVEN = 10_000
"""How many names are kept of what an outage gave back: another handler may have taken it."""


class Handle(Protocol):
    """Gives deliveries their outcome; returns those that must wait for what they name: none once they have waited."""

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
    trial: asyncio.Lock = field(default_factory=asyncio.Lock)
    forgiven: dict[str, None] = field(default_factory=dict[str, None])
    waiting: dict[int, tuple[Delivery, datetime]] = field(default_factory=dict[int, tuple[Delivery, datetime]])
    tried_at: datetime = LONG_AGO

    async def run(self) -> None:
        """Until cancelled. Raises Unavailable in an outage: whoever runs this ends its connections and begins anew,
        so nothing is delivered to it until the store answers, and what was not settled comes again."""
        try:
            while True:
                await self.round()
        except (Unavailable, asyncio.CancelledError):
            self._forgive(_name(delivery) for delivery, _ in self.waiting.values() if delivery.redelivered)
            raise

    async def round(self) -> None:
        """One batch: what has arrived, and what waits for a name that was not there."""
        deliveries = await self._arrived()
        if not deliveries or self.clock.now() - self.tried_at >= RETRY_UNKNOWN:
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
            async with asyncio.timeout(RETRY_UNKNOWN.total_seconds()):
                return await self.subscription.batch(BATCH)
        except TimeoutError:
            return ()

    async def _try_again(self) -> None:
        """Have what waits handled anew: in one batch what may wait on, in another what has waited long enough."""
        self.tried_at = now = self.clock.now()
        for over in (True, False):
            since = {tag: at for tag, (_, at) in self.waiting.items() if (now - at >= OVERTAKING) is over}
            if not since:
                continue
            part = [self.waiting[tag][0] for tag in sorted(since)]
            left = {delivery.tag for delivery in await self.handle(part, now - max(since.values()))}
            decided = [delivery for delivery in part if delivery.tag not in left]
            for delivery in decided:
                del self.waiting[delivery.tag]
            await self._settle(decided)
            if returned := sorted({_name(delivery) for delivery in decided if delivery.redelivered}):
                await self.store.forget(returned)

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
        for name in returned:
            self.forgiven.pop(name, None)
        try:
            left = await self._handled(part) if part else ()
        except (Unavailable, asyncio.CancelledError):
            self._forgive(returned)
            raise
        await self._settle([delivery for delivery in part if delivery.tag not in self.waiting])
        if harmless := sorted(set(returned) - set(map(_name, left))):
            await self.store.forget(harmless)

    def _forgive(self, names: Iterable[str]) -> None:
        self.forgiven.update(dict.fromkeys(names))
        for oldest in list(self.forgiven)[:-FORGIVEN]:
            del self.forgiven[oldest]

    async def _handled(self, part: Sequence[Delivery]) -> Sequence[Delivery]:
        """Have a part handled. What is left to wait: as many as there is room for, the rest is refused at once."""
        now = self.clock.now()
        left = await self.handle(part, timedelta(0))
        room = WAITING - len(self.waiting)
        if refused := left[room:]:
            await self.handle(refused, OVERTAKING)
        self.waiting |= {delivery.tag: (delivery, now) for delivery in left[:room]}
        return left[:room]

    async def _set_aside(self, poison: Delivery) -> None:
        why = Unreadable("poison", f"its handler died {POISON_AFTER} times; look at the body, then replay or drop it")
        letter = dead_letter(_letter_id(poison, self.clock.now()), poison.queue, poison, why)
        await self.store.redelivered([_name(poison)])
        await self.store.commit(Writes(dead_letters=[letter]))
        await self._settle([poison])
        await self.store.forget([])

    async def _settle(self, decided: Sequence[Delivery]) -> None:
        """Settle in one all before the oldest message that still waits, and behind it each by itself."""
        oldest = min(self.waiting, default=None)
        before = [delivery for delivery in decided if oldest is None or delivery.tag < oldest]
        if before:
            await self.subscription.ack(before[-1])
        for delivery in decided[len(before) :]:
            await self.subscription.settle(delivery)


def _name(delivery: Delivery) -> str:
    given = delivery.message_id
    return given if given and given.isprintable() else sha256(delivery.body).hexdigest()


def _letter_id(poison: Delivery, now: datetime) -> UUID:
    """Of this message in this hour: who is killed before he could settle it keeps no second letter."""
    hour = int(now.timestamp()) // 3600 * 3_600_000
    body = sha256(poison.body).hexdigest()
    return derived_id(UUID(int=hour << 80), f"{poison.queue} {_name(poison)} {poison.user} {body}")
