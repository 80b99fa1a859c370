"""Consuming in batches, with one acknowledgement each, across losses of the connection."""

import asyncio
import logging
import random
from collections.abc import Sequence
from itertools import takewhile

import aiormq

from adapters.amqp_deliveries import Origin, delivery
from adapters.amqp_wire import Link, TappedChannel
from adapters.intake import Intake
from domain.errors import Unavailable
from domain.ports.broker import Delivery

ANSWER_WITHIN = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0

log = logging.getLogger(__name__)


class _Intake:
    """The consuming channel's side of the tap. None in `arrived` ends it. `unsettled`: tags handed out, in order."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.arrived = asyncio.Queue[Delivery | None]()
        self.unsettled = dict[int, None]()
        self.channel: TappedChannel | None = None
        self.why: str | None = None

    def delivered(self, method: bytes, header: bytes, body: bytes) -> None:
        self.arrived.put_nowait(delivery(self.origin, method, header, body))

    def returned(self, method: bytes, header: bytes) -> None:
        """Nothing is published on this channel."""

    def confirmed(self, method: bytes, acked: bool) -> None:
        """As above."""

    def lost(self, why: str) -> None:
        if self.why is None:
            self.why = why
            while not self.arrived.empty():
                self.arrived.get_nowait()  # the broker will deliver it again
            self.arrived.put_nowait(None)


class AmqpSubscription:
    """One queue on one channel, consumed anew whenever the channel was lost: acks of the old one then do nothing."""

    def __init__(self, link: Link, wanted: Intake) -> None:
        self._link, self._wanted = link, wanted
        self._intake: _Intake | None = None
        self._starting: asyncio.Task[_Intake] | None = None
        self._highest = 0

    async def batch(self, limit: int) -> Sequence[Delivery]:
        while True:
            intake = self._intake or await self._started()
            arrived = intake.arrived
            first = await arrived.get()
            if first is None:
                log.warning("consuming %s ended: %s", self._wanted.queue, intake.why)
                await self.pause()
                continue
            batch = [first]
            while len(batch) < limit and not arrived.empty() and (following := arrived.get_nowait()):
                batch.append(following)
            self._highest = max(self._highest, batch[-1].tag)
            intake.unsettled.update((delivery.tag, None) for delivery in batch)
            return batch

    async def settle(self, one: Delivery) -> None:
        if self._intake is not None and one.tag in self._intake.unsettled:
            await self._ack(self._intake, [one.tag], multiple=False)

    async def ack(self, last: Delivery) -> None:
        # The broker closes a channel on which a tag is settled twice, so the ack names one that is not settled yet.
        if self._intake is not None:
            tags = list(takewhile(lambda tag: tag <= last.tag, self._intake.unsettled))
            await self._ack(self._intake, tags, multiple=True)

    async def _ack(self, intake: _Intake, tags: Sequence[int], multiple: bool) -> None:
        if intake.channel is None or not tags:
            return
        for tag in tags:
            del intake.unsettled[tag]
        try:
            await intake.channel.aiormq.basic_ack(tags[-1] - intake.origin.base, multiple=multiple, wait=False)
        except (aiormq.AMQPError, OSError, RuntimeError) as error:
            intake.lost(str(error))

    async def pause(self) -> None:
        intake, self._intake = self._intake, None
        if intake is None or intake.channel is None or intake.channel.closed:
            return
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await intake.channel.close()
        except (aiormq.AMQPError, OSError, RuntimeError, TimeoutError):
            self._link.abort()

    async def close(self) -> None:
        """No `batch` follows."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])

    async def _started(self) -> _Intake:
        # In a task of its own: callers who wait for a batch only briefly must not cut it short.
        # One that ended after they had gone has set the intake; whoever comes here again has lost that since.
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> _Intake:
        pause = FIRST_PAUSE
        while True:
            try:
                async with asyncio.timeout(ANSWER_WITHIN):
                    self._intake = await self._consume()
                return self._intake
            except TimeoutError:
                self._link.abort()
                log.warning("cannot consume %s: no answer within %g s", self._wanted.queue, ANSWER_WITHIN)
            except (aiormq.AMQPError, OSError, RuntimeError, Unavailable) as error:
                log.warning("cannot consume %s: %s", self._wanted.queue, error)
            await asyncio.sleep(random.uniform(0, pause))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _consume(self) -> _Intake:
        wanted = self._wanted
        if wanted.prepare is not None:
            await wanted.prepare()
        wire = await self._link.wire()
        intake = _Intake(Origin(wanted.queue, self._highest))
        intake.channel = await wire.channel(intake)
        channel = intake.channel.aiormq
        channel.on_consumer_cancel_callbacks.add(lambda _: intake.lost("the broker ended it"))
        await channel.basic_qos(prefetch_count=wanted.prefetch)
        await channel.basic_consume(wanted.queue, _untapped, exclusive=wanted.exclusive)
        return intake


async def _untapped(message: object) -> None:
    raise AssertionError("a delivery has passed the tap")
