"""Declares a topology at RabbitMQ, over aio-pika."""

import asyncio

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from domain.errors import TopologyConflict, Unavailable
from domain.ports.topology import Topology

DECLARE_WITHIN = 30.0
RECOVERING, RECOVERING_PAUSE = "is down or inaccessible", 0.25
"""What RabbitMQ says of a queue that is there but not led yet: it lets clients in before its streams are back."""


async def declare(url: str, topology: Topology) -> None:
    """Make what is not there, on a connection of its own, after the broker has recovered what is.

    Raises TopologyConflict, Unavailable.
    """
    try:
        async with asyncio.timeout(DECLARE_WITHIN):
            connection = await aio_pika.connect(url, client_properties={"connection_name": "tally declare"})
            async with connection:
                await _declare_when_recovered(connection, topology)
    except ChannelPreconditionFailed as error:
        raise TopologyConflict(str(error)) from error
    except (aio_pika.exceptions.AMQPError, OSError, TimeoutError) as error:
        raise Unavailable(f"broker: {str(error) or type(error).__name__}") from error


async def _declare_when_recovered(connection: AbstractConnection, topology: Topology) -> None:
    while True:
        try:
            async with connection.channel() as channel:
                return await _declare(channel, topology)
        except ChannelNotFoundEntity as error:
            if RECOVERING not in str(error):
                raise
        await asyncio.sleep(RECOVERING_PAUSE)


async def _declare(channel: AbstractChannel, topology: Topology) -> None:
    for exchange in topology.exchanges:
        await channel.declare_exchange(exchange.name, exchange.kind, durable=True, arguments=dict(exchange.arguments))
    for queue in topology.queues:
        await channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments))
    for binding in topology.bindings:
        bound = await channel.get_queue(binding.queue, ensure=False)
        await bound.bind(binding.exchange, binding.key)
