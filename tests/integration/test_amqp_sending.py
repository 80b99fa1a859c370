"""A client's commands at a real RabbitMQ."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit
from uuid import UUID

import pytest
import pytest_asyncio

from adapters.broker import Broker, connect
from adapters.intake import Intake
from adapters.platform_amqp import AmqpSending
from consumers.reading import decode, read
from domain.commands import COMMANDS, CancelTask
from domain.errors import NotAllowed, Refused, Unavailable, Unroutable
from domain.messages import Cause
from domain.ports.broker import Outgoing, Subscription
from domain.ports.topology import Topology
from domain.work import Reply
from infra.topology import COMMANDS_QUEUE, TOPOLOGY
from tests.support.broker import Vhost

pytestmark = pytest.mark.integration
ID, ID_2 = UUID("019abcde-0000-7000-8000-000000000001"), UUID("019abcde-0000-7000-8000-000000000002")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CAUSE = Cause("chain", "command", "alice", TRACE)
CANCEL = CancelTask(task_id="T1", namespace="analytics")


@pytest_asyncio.fixture
async def platform(vhost: Vhost) -> AsyncIterator[Broker]:
    async with connect(vhost.platform, "platform") as platform:
        await platform.declare(TOPOLOGY)
        yield platform


@pytest_asyncio.fixture
async def sending(vhost: Vhost) -> AsyncIterator[AmqpSending]:
    sending = AmqpSending(vhost.client)
    yield sending
    await sending.close()


async def answering(platform: Broker, commands: Subscription, count: int = 1) -> None:
    """Answer commands as the handler would."""
    for _ in range(count):
        (delivery,) = await commands.batch(1)
        letter = read(delivery)
        reply = Reply(command_id=letter.id, outcome="accepted", task_id="T1")
        await platform.publisher().publish(
            [
                Outgoing(
                    "",
                    letter.reply_to or "",
                    reply.TYPE,
                    ID,
                    reply.body(),
                    correlation_id=letter.reply_correlation,
                    persistent=False,
                    mandatory=False,
                )
            ]
        )
        await commands.ack(delivery)


async def test_a_command_that_nobody_waits_for_is_safe_on_the_queue(
    platform: Broker, sending: AmqpSending, vhost: Vhost
) -> None:
    assert await sending.send(CANCEL, ID, CAUSE, answer=False) is None

    (delivery,) = await asyncio.wait_for(platform.subscription(Intake(COMMANDS_QUEUE, 10)).batch(10), 10)
    letter = read(delivery)
    assert decode(letter, COMMANDS) == CANCEL
    assert (letter.id, letter.namespace, letter.user, letter.reply_to) == (
        ID,
        "analytics",
        urlsplit(vhost.client).username,
        None,
    )
    assert letter.traceparent == TRACE


async def test_who_waits_gets_the_platform_s_answer(platform: Broker, sending: AmqpSending) -> None:
    commands = platform.subscription(Intake(COMMANDS_QUEUE, 1))
    answers = asyncio.create_task(answering(platform, commands, 2))

    first, second = await asyncio.wait_for(
        asyncio.gather(*(sending.send(CANCEL, one, CAUSE, answer=True) for one in (ID, ID_2))), 10
    )

    await answers
    assert first == Reply(command_id=ID, outcome="accepted", task_id="T1")
    assert second == Reply(command_id=ID_2, outcome="accepted", task_id="T1")


async def test_the_next_command_after_a_lost_connection_opens_another(platform: Broker, sending: AmqpSending) -> None:
    await sending.send(CANCEL, ID, CAUSE, answer=False)
    await sending.close()

    await sending.send(CANCEL, ID_2, CAUSE, answer=False)

    commands = platform.subscription(Intake(COMMANDS_QUEUE, 10))
    got = [*await asyncio.wait_for(commands.batch(10), 10)]
    while len(got) < 2:
        got += await asyncio.wait_for(commands.batch(10), 10)
    assert [delivery.message_id for delivery in got] == [str(ID), str(ID_2)]


async def test_a_command_that_no_queue_takes_is_no_success(vhost: Vhost, sending: AmqpSending) -> None:
    async with connect(vhost.platform, "platform") as platform:
        await platform.declare(Topology(exchanges=TOPOLOGY.exchanges))

    with pytest.raises(Unroutable) as caught:
        await sending.send(CANCEL, ID, CAUSE, answer=False)

    assert (caught.value.exchange, caught.value.routing_key) == ("task.commands", "task.cancel.analytics")


async def test_an_account_that_may_not_send_commands_is_refused(platform: Broker, vhost: Vhost) -> None:
    sending = AmqpSending(vhost.worker)
    try:
        with pytest.raises(Refused) as caught:
            await sending.send(CANCEL, ID, CAUSE, answer=False)
    finally:
        await sending.close()

    assert caught.value.problem.code == NotAllowed.code


@pytest.mark.parametrize("wrong", ["port", "password"])
async def test_a_broker_that_is_not_reached_is_named_without_the_password(vhost: Vhost, wrong: str) -> None:
    parts = urlsplit(vhost.client)
    where = f"{parts.hostname}:1" if wrong == "port" else f"{parts.hostname}:{parts.port}"
    url = parts._replace(netloc=f"{parts.username}:{quote('pa$$word')}@{where}").geturl()

    with pytest.raises(Unavailable, match=f"broker {where} is not reached") as caught:
        await AmqpSending(url).send(CANCEL, ID, CAUSE, answer=False)

    assert "word" not in str(caught.value)
