"""Consuming from queues that are not there yet, vanish, or belong to somebody else, at a real RabbitMQ."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import pytest_asyncio

from adapters.broker import Broker, connect
from adapters.intake import Intake
from domain.ports.broker import Delivery, Outgoing, Subscription
from domain.ports.topology import Queue, Topology
from tests.support.broker import Management, Vhost

pytestmark = pytest.mark.integration
LETTERS = Topology(queues=(Queue("letters", {"x-queue-type": "classic"}),))
DEADLINE = 20


@pytest_asyncio.fixture
async def platform(vhost: Vhost) -> AsyncIterator[Broker]:
    async with connect(vhost.platform, "platform") as platform:
        yield platform


def letter(number: int) -> Outgoing:
    return Outgoing("", "letters", "letter.v1", UUID(int=number), b"{}")


async def first(subscription: Subscription) -> Delivery:
    (delivery,) = await asyncio.wait_for(subscription.batch(1), DEADLINE)
    return delivery


async def test_a_queue_that_is_not_there_yet_is_consumed_once_it_is(platform: Broker) -> None:
    tries = asyncio.Semaphore(0)

    async def tried() -> None:
        tries.release()

    reading = asyncio.create_task(first(platform.subscription(Intake("letters", 10, prepare=tried))))
    for _ in range(2):
        await asyncio.wait_for(tries.acquire(), DEADLINE)

    await platform.declare(LETTERS)
    await platform.publisher().publish([letter(1)])

    assert (await reading).message_id == str(UUID(int=1))


async def test_a_queue_that_vanishes_is_consumed_again_once_it_is_declared_anew(
    platform: Broker, vhost: Vhost, broker: tuple[dict[str, str], Management]
) -> None:
    await platform.declare(LETTERS)
    subscription = platform.subscription(Intake("letters", 10))
    await platform.publisher().publish([letter(1)])
    await subscription.ack(await first(subscription))
    reading = asyncio.create_task(first(subscription))

    broker[1].call("DELETE", f"/queues/{vhost.name}/letters")
    await platform.declare(LETTERS)
    await platform.publisher().publish([letter(2)])

    assert (await reading).message_id == str(UUID(int=2))


async def test_a_queue_that_another_has_to_himself_is_consumed_when_he_is_gone(platform: Broker, vhost: Vhost) -> None:
    await platform.declare(LETTERS)
    await platform.publisher().publish([letter(1)])
    tries = asyncio.Semaphore(0)

    async def tried() -> None:
        tries.release()

    async with connect(vhost.platform, "owner") as owner:
        mine = owner.subscription(Intake("letters", 10, exclusive=True))
        got = await first(mine)
        reading = asyncio.create_task(
            first(platform.subscription(Intake("letters", 10, exclusive=True, prepare=tried)))
        )
        for _ in range(2):
            await asyncio.wait_for(tries.acquire(), DEADLINE)
        assert not reading.done()

    assert (await reading).message_id == got.message_id


async def test_an_ack_over_a_connection_that_is_gone_settles_nothing_and_raises_nothing(platform: Broker) -> None:
    await platform.declare(LETTERS)
    subscription = platform.subscription(Intake("letters", 10))
    await platform.publisher().publish([letter(1)])
    got = await first(subscription)

    platform.cut()
    await subscription.ack(got)
    await subscription.pause()

    again = await first(subscription)
    assert (again.message_id, again.redelivered) == (got.message_id, True)
