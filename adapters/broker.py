"""RabbitMQ behind the broker's port: windows of confirms out, batches with one acknowledgement in."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from adapters.amqp_publisher import AmqpPublisher
from adapters.amqp_subscription import AmqpSubscription, Intake
from adapters.amqp_wire import Link

__all__ = ["AmqpPublisher", "AmqpSubscription", "Broker", "Intake", "connect"]


class Broker:
    """One connection for publishing and one for consuming, so that a blocked publisher does not stop deliveries."""

    def __init__(self, url: str, name: str) -> None:
        self._out, self._in = Link(url, f"{name} out"), Link(url, f"{name} in")
        self._publisher = AmqpPublisher(self._out)

    def publisher(self) -> AmqpPublisher:
        """The one publisher of this process; calls may overlap."""
        return self._publisher

    def subscription(self, intake: Intake) -> AmqpSubscription:
        return AmqpSubscription(self._in, intake)

    async def close(self) -> None:
        """End both connections: what was not settled goes back to its queue."""
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
