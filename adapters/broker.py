"""RabbitMQ behind the broker's port: windows of confirms out, batches with one acknowledgement in."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from adapters import topology as topologies
from adapters.amqp_publisher import AmqpPublisher
from adapters.amqp_subscription import AmqpSubscription
from adapters.amqp_wire import Link
from adapters.intake import Intake
from domain.ports.topology import Topology

__all__ = ["Broker", "Intake", "connect"]


class Broker:
    """One connection for publishing and one for consuming, so that a blocked publisher does not stop deliveries."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._out, self._in = Link(url, f"{name} out"), Link(url, f"{name} in")
        self._publisher = AmqpPublisher(self._out)
        self._subscriptions = list[AmqpSubscription]()

    async def declare(self, topology: Topology) -> None:
        """As `Declares` says."""
        await topologies.declare(self._url, topology)

    def publisher(self) -> AmqpPublisher:
        """The one publisher of this process; calls may overlap."""
        return self._publisher

    def subscription(self, intake: Intake) -> AmqpSubscription:
        """A queue to consume; begins with its first `batch`."""
        subscription = AmqpSubscription(self._in, intake)
        self._subscriptions.append(subscription)
        return subscription

    def cut(self) -> None:
        """Drop both connections at once, as a network does: what follows opens new ones."""
        self._in.abort()
        self._out.abort()

    async def close(self) -> None:
        """End both connections: what was not settled goes back to its queue."""
        for subscription in self._subscriptions:
            await subscription.close()
        await self._in.close()
        await self._out.close()


@asynccontextmanager
async def connect(url: str, name: str) -> AsyncGenerator[Broker]:
    """A broker for as long as the block lasts, shown under `name` in RabbitMQ's lists.

    Connections are opened by the first call that needs one, so a broker that is not up yet is no error here.
    """
    broker = Broker(url, name)
    try:
        yield broker
    finally:
        await broker.close()
