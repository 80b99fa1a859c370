"""A broker inside one process: routing, confirms, redelivery, full queues as RabbitMQ's; no expiry, no dead letters."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from uuid import UUID

from adapters.amqp_frames import ce_headers, content_encoding
from adapters.intake import Intake
from domain.errors import Nacked, TopologyConflict, Unroutable
from domain.ports.broker import Delivery, Outgoing
from domain.ports.topology import Exchange, Queue, Topology


@dataclass(slots=True)
class _Queue:
    declared: Queue
    ready: deque[Delivery] = field(default_factory=deque[Delivery])
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def full(self) -> bool:
        """Whether it refuses what is published."""
        arguments = self.declared.arguments
        limit = arguments.get("x-max-length")
        return limit is not None and arguments.get("x-overflow") == "reject-publish" and len(self.ready) >= int(limit)


class InMemoryBroker:
    """The broker that all processes of one test share. Set `down` to an error and publishing raises it."""

    def __init__(self) -> None:
        self.down: Exception | None = None
        self.published: list[Outgoing] = []
        self._exchanges = dict[str, Exchange]()
        self._queues = dict[str, _Queue]()
        self._bindings = set[tuple[str, str, str]]()
        self._subscriptions = list[InMemorySubscription]()

    async def declare(self, topology: Topology) -> None:
        for exchange in topology.exchanges:
            if self._exchanges.setdefault(exchange.name, exchange) != exchange:
                raise TopologyConflict(f"exchange {exchange.name} is there with other arguments")
        for queue in topology.queues:
            if self._queues.setdefault(queue.name, _Queue(queue)).declared != queue:
                raise TopologyConflict(f"queue {queue.name} is there with other arguments")
        self._bindings |= {(binding.exchange, binding.queue, binding.key) for binding in topology.bindings}

    def publisher(self, user: str | None = None) -> "InMemoryPublisher":
        """One who publishes as `user`, a name the broker has checked."""
        return InMemoryPublisher(self, user)

    def subscription(self, intake: Intake) -> "InMemorySubscription":
        subscription = InMemorySubscription(self._queues[intake.queue], intake)
        self._subscriptions.append(subscription)
        return subscription

    async def lose_connections(self) -> None:
        """Every consumer loses its channel: what is not settled is delivered again."""
        for subscription in self._subscriptions:
            await subscription.pause()

    def waiting(self, queue: str) -> Sequence[Delivery]:
        """What lies in a queue, without taking it out."""
        return list(self._queues[queue].ready)

    async def route(self, message: Outgoing, user: str | None) -> None:
        """Put `message` into each queue that it is for.

        Raises Unroutable if there is none and it is mandatory, Nacked if one of them is full and refuses.
        """
        names = self._targets(message.exchange, message.routing_key)
        if not names and message.mandatory:
            raise Unroutable(message.exchange, message.routing_key)
        self.published.append(message)
        full = [name for name in names if self._queues[name].full]
        for name in names:
            queue = self._queues[name]
            if name in full:
                continue
            async with queue.changed:
                queue.ready.append(_arrived(message, name, user))
                queue.changed.notify_all()
        if full:
            raise Nacked([message.id])

    def _targets(self, exchange: str, routing_key: str) -> list[str]:
        if exchange == "":
            return [routing_key] if routing_key in self._queues else []
        kind = self._exchanges[exchange].kind
        return sorted(
            {
                queue
                for source, queue, key in self._bindings
                if source == exchange
                and (kind == "fanout" or key == routing_key or (kind == "topic" and fits(key, routing_key)))
            }
        )


def _arrived(message: Outgoing, queue: str, user: str | None) -> Delivery:
    return Delivery(
        tag=0,
        queue=queue,
        exchange=message.exchange,
        routing_key=message.routing_key,
        body=message.body,
        headers=dict(ce_headers(message)),
        content_type=message.content_type,
        content_encoding=content_encoding(message),
        message_id=str(message.id),
        type=message.type,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        user=user,
    )


@lru_cache(maxsize=4096)
def fits(pattern: str, key: str) -> bool:
    """Whether a topic exchange's binding key takes a routing key: `*` is one word, `#` any number of words."""
    return _fits(pattern.split("."), key.split(".") if key else [])


def _fits(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_fits(pattern[1:], words[at:]) for at in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _fits(pattern[1:], words[1:])


class InMemoryPublisher:
    """Confirms at once."""

    def __init__(self, broker: InMemoryBroker, user: str | None) -> None:
        self._broker, self._user = broker, user

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        if self._broker.down is not None:
            raise self._broker.down
        returned: Unroutable | None = None
        nacked = list[UUID]()
        for message in messages:
            try:
                await self._broker.route(message, self._user)
            except Unroutable as error:
                returned = returned or error
            except Nacked as error:
                nacked += error.ids
        if returned is not None:
            raise returned
        if nacked:
            raise Nacked(nacked)


class InMemorySubscription:
    """One consumer of a queue."""

    def __init__(self, queue: _Queue, intake: Intake) -> None:
        self._queue, self._intake = queue, intake
        self._unsettled = deque[Delivery]()
        self._last = 0

    async def batch(self, limit: int) -> Sequence[Delivery]:
        if self._intake.prepare is not None:
            await self._intake.prepare()
        async with self._queue.changed:
            await self._queue.changed.wait_for(lambda: self._queue.ready and self._room())
            taken = list[Delivery]()
            while self._queue.ready and self._room() and len(taken) < limit:
                self._last += 1
                taken.append(replace(self._queue.ready.popleft(), tag=self._last))
                self._unsettled.append(taken[-1])
            return taken

    def _room(self) -> bool:
        return len(self._unsettled) < self._intake.prefetch

    async def ack(self, last: Delivery) -> None:
        async with self._queue.changed:
            while self._unsettled and self._unsettled[0].tag <= last.tag:
                self._unsettled.popleft()
            self._queue.changed.notify_all()

    async def settle(self, one: Delivery) -> None:
        async with self._queue.changed:
            for unsettled in [held for held in self._unsettled if held.tag == one.tag]:
                self._unsettled.remove(unsettled)
            self._queue.changed.notify_all()

    async def pause(self) -> None:
        async with self._queue.changed:
            while self._unsettled:
                self._queue.ready.appendleft(replace(self._unsettled.pop(), tag=0, redelivered=True))
            self._queue.changed.notify_all()
