"""What every broker does, in memory and for real."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from adapters.broker import connect
from adapters.in_memory.broker import InMemoryBroker
from adapters.intake import Intake
from domain.errors import Nacked, TopologyConflict, Unroutable
from domain.ports.broker import Delivery, Outgoing, Publisher, Subscription
from domain.ports.topology import Binding, Exchange, Queue, Topology
from tests.support.broker import Vhost

QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}
TOPOLOGY = Topology(
    exchanges=(Exchange("songs", "topic"), Exchange("posts", "direct")),
    queues=(Queue("all", QUORUM), Queue("jazz", QUORUM), Queue("letters", QUORUM)),
    bindings=(
        Binding("songs", "all", "#"),
        Binding("songs", "jazz", "song.*.jazz"),
        Binding("posts", "letters", "letter"),
    ),
)
ID = UUID("019abcde-0000-7000-8000-000000000000")


@dataclass
class Implementation:
    """One implementation: who publishes, how a queue is consumed, how connections break, what is declared."""

    publisher: Publisher
    subscription: Callable[[Intake], Subscription]
    lose_connections: Callable[[], Awaitable[None]]
    declare: Callable[[Topology], Awaitable[None]]


@pytest_asyncio.fixture(params=["in memory", pytest.param("RabbitMQ", marks=pytest.mark.integration)])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Implementation]:
    if request.param == "in memory":
        memory = InMemoryBroker()
        await memory.declare(TOPOLOGY)
        yield Implementation(memory.publisher(), memory.subscription, memory.lose_connections, memory.declare)
        return
    vhost: Vhost = request.getfixturevalue("vhost")
    async with connect(vhost.platform, "contract") as real:
        await real.declare(TOPOLOGY)

        async def lose_connections() -> None:
            real.cut()

        yield Implementation(real.publisher(), real.subscription, lose_connections, real.declare)


def song(number: int, key: str = "song.play.jazz", exchange: str = "songs", **more: Any) -> Outgoing:
    return Outgoing(exchange, key, "song.play.v1", UUID(int=ID.int + number), b'{"n":%d}' % number, **more)


def letter(number: int) -> Outgoing:
    return song(number, "letter", "posts")


async def received(subscription: Subscription, count: int, settle: bool = True) -> list[Delivery]:
    got: list[Delivery] = []
    async with asyncio.timeout(20):
        while len(got) < count:
            got += await subscription.batch(count - len(got))
    if settle:
        await subscription.ack(got[-1])
    return got


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


async def test_messages_arrive_in_the_order_they_were_sent(broker: Implementation) -> None:
    sent = [letter(number) for number in range(1200)]

    await broker.publisher.publish(sent)

    got = await received(broker.subscription(Intake("letters", 500)), 500, settle=False)
    assert bodies(got) == [message.body for message in sent[:500]]
    assert [delivery.tag for delivery in got] == sorted(delivery.tag for delivery in got)


async def test_a_message_arrives_as_it_was_sent(broker: Implementation) -> None:
    message = song(
        1,
        headers={"ce-source": "/clients/x", "ce-position": "7", "offset": -5, "last": True, "name": "ä\U0001f6a2"},
        correlation_id="night",
        reply_to="answers",
    )
    await broker.publisher.publish([message])

    (got,) = await received(broker.subscription(Intake("all", 10)), 1)

    assert got == Delivery(
        tag=got.tag,
        queue="all",
        exchange="songs",
        routing_key="song.play.jazz",
        body=b'{"n":1}',
        headers={"ce-specversion": "1.0", "ce-id": str(message.id), "ce-type": "song.play.v1", **message.headers},
        content_type="application/json",
        content_encoding="utf-8",
        message_id=str(message.id),
        type="song.play.v1",
        correlation_id="night",
        reply_to="answers",
    )


async def test_bytes_of_any_size_arrive_whole(broker: Implementation) -> None:
    blobs = [b"", b"x", bytes(range(256)) * 600, b"\xce" * 131_064, b"\x01" * 131_065, b"\0" * 3_000_000]
    sent = [replace(letter(n), body=blob, content_type="application/octet-stream") for n, blob in enumerate(blobs)]

    await broker.publisher.publish(sent)

    got = await received(broker.subscription(Intake("letters", 10)), len(blobs))
    assert bodies(got) == blobs
    assert {delivery.content_encoding for delivery in got} == {None}


async def test_a_topic_exchange_routes_by_words(broker: Implementation) -> None:
    await broker.publisher.publish([song(1), song(2, "song.play.rock"), song(3, "song.jazz"), song(4, "song.a.b.jazz")])

    everything = await received(broker.subscription(Intake("all", 10)), 4)
    jazz = await received(broker.subscription(Intake("jazz", 10)), 1)

    assert bodies(everything) == [b'{"n":1}', b'{"n":2}', b'{"n":3}', b'{"n":4}']
    assert bodies(jazz) == [b'{"n":1}']


async def test_the_default_exchange_reaches_a_queue_by_name(broker: Implementation) -> None:
    await broker.publisher.publish([song(1, "jazz", exchange="")])

    assert bodies(await received(broker.subscription(Intake("jazz", 10)), 1)) == [b'{"n":1}']


async def test_a_mandatory_message_that_no_queue_takes_is_an_error_that_names_it(broker: Implementation) -> None:
    lost = [song(2, "nowhere", "posts"), song(3, "gone", "")]

    with pytest.raises(Unroutable) as caught:
        await broker.publisher.publish([letter(1), *lost, letter(4)])

    assert (caught.value.exchange, caught.value.routing_key) == ("posts", "nowhere")
    got = await received(broker.subscription(Intake("letters", 10)), 2)
    assert bodies(got) == [b'{"n":1}', b'{"n":4}']


async def test_other_messages_that_no_queue_takes_are_dropped(broker: Implementation) -> None:
    await broker.publisher.publish([song(1, "gone", exchange="", mandatory=False)])


async def test_what_a_full_queue_refuses_is_named_and_reaches_every_other_queue(broker: Implementation) -> None:
    small = Queue("small", {"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"})
    await broker.declare(Topology(queues=(small,), bindings=(Binding("songs", "small", "song.*.jazz"),)))
    sent = [song(1), song(2), song(3, "song.play.rock"), *(song(n) for n in range(4, 1200))]

    with pytest.raises(Nacked) as caught:
        await broker.publisher.publish(sent)

    assert set(caught.value.ids) == {message.id for message in sent} - {sent[0].id, sent[2].id}
    got = await received(broker.subscription(Intake("all", 2000)), len(sent))
    assert bodies(got) == [message.body for message in sent]
    assert bodies(await received(broker.subscription(Intake("small", 10)), 1)) == [b'{"n":1}']


async def test_publishing_goes_on_once_a_full_queue_has_room(broker: Implementation) -> None:
    small = Queue("small", {"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"})
    await broker.declare(Topology(queues=(small,)))
    await broker.publisher.publish([song(1, "small", "")])
    with pytest.raises(Nacked):
        await broker.publisher.publish([song(2, "small", "")])
    await received(broker.subscription(Intake("small", 1)), 1)

    await broker.publisher.publish([song(3, "small", "")])


async def test_overlapping_publishers_learn_only_of_their_own_messages(broker: Implementation) -> None:
    good = [broker.publisher.publish([letter(number)]) for number in range(20)]
    bad = broker.publisher.publish([song(99, "nowhere", "posts")])

    results = await asyncio.gather(*good[:10], bad, *good[10:], return_exceptions=True)

    assert [type(result) for result in results if result is not None] == [Unroutable]


async def test_a_batch_is_what_is_there_up_to_its_limit(broker: Implementation) -> None:
    subscription = broker.subscription(Intake("letters", 100))
    await broker.publisher.publish([letter(number) for number in range(5)])

    first = await received(subscription, 2, settle=False)
    rest = await received(subscription, 3, settle=False)

    assert bodies([*first, *rest]) == [b'{"n":%d}' % number for number in range(5)]


async def test_no_more_than_the_prefetch_is_in_flight(broker: Implementation) -> None:
    subscription = broker.subscription(Intake("letters", 3))
    await broker.publisher.publish([letter(number) for number in range(5)])

    first = await received(subscription, 3, settle=False)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(subscription.batch(1), 0.2)
    await subscription.ack(first[0])

    assert bodies(await received(subscription, 1)) == [b'{"n":3}']


async def test_what_was_settled_is_gone_and_the_rest_comes_again(broker: Implementation) -> None:
    subscription = broker.subscription(Intake("letters", 100))
    await broker.publisher.publish([letter(number) for number in range(4)])
    got = await received(subscription, 4, settle=False)
    await subscription.ack(got[1])

    await subscription.pause()

    again = await received(subscription, 2)
    assert bodies(again) == [b'{"n":2}', b'{"n":3}']
    assert [delivery.redelivered for delivery in [*got, *again]] == [False] * 4 + [True] * 2
    assert again[0].tag > got[-1].tag


async def test_one_alone_may_be_settled_and_those_before_it_come_again(broker: Implementation) -> None:
    await broker.publisher.publish([letter(number) for number in range(3)])
    subscription = broker.subscription(Intake("letters", 100))
    first, second, third = await received(subscription, 3, settle=False)

    await subscription.settle(second)
    await subscription.settle(third)
    await subscription.pause()

    assert bodies(await received(subscription, 1)) == [first.body]


async def test_an_ack_up_to_one_that_was_settled_alone_settles_those_before_it_and_nothing_else(
    broker: Implementation,
) -> None:
    await broker.publisher.publish([letter(number) for number in range(4)])
    subscription = broker.subscription(Intake("letters", 100))
    _, second, third, fourth = await received(subscription, 4, settle=False)
    await subscription.settle(third)
    await subscription.settle(second)

    await subscription.ack(third)
    await broker.publisher.publish([letter(5)])
    (fifth,) = await received(subscription, 1, settle=False)
    await subscription.pause()

    assert (fifth.body, fifth.redelivered) == (b'{"n":5}', False)
    assert bodies(await received(subscription, 2)) == [fourth.body, fifth.body]


async def test_an_ack_from_before_a_loss_settles_nothing(broker: Implementation) -> None:
    subscription = broker.subscription(Intake("letters", 100))
    await broker.publisher.publish([letter(number) for number in range(3)])
    old = await received(subscription, 3, settle=False)

    await broker.lose_connections()
    again = await received(subscription, 3, settle=False)
    await subscription.ack(old[-1])
    await subscription.pause()

    assert bodies(await received(subscription, 3)) == bodies(again) == bodies(old)


async def test_publishing_and_consuming_go_on_after_a_loss(broker: Implementation) -> None:
    subscription = broker.subscription(Intake("letters", 100))
    await broker.publisher.publish([letter(1)])
    await received(subscription, 1)

    await broker.lose_connections()
    await broker.publisher.publish([letter(2)])

    got = await received(subscription, 1)
    if got[0].redelivered:  # the first one's ack was still on its way
        got = await received(subscription, 1)
    assert bodies(got) == [b'{"n":2}']


async def test_declaring_twice_changes_nothing(broker: Implementation) -> None:
    await broker.publisher.publish([letter(1)])

    await broker.declare(TOPOLOGY)

    assert bodies(await received(broker.subscription(Intake("letters", 1)), 1)) == [b'{"n":1}']


async def test_declaring_otherwise_is_refused(broker: Implementation) -> None:
    with pytest.raises(TopologyConflict):
        await broker.declare(Topology(queues=(Queue("all", {"x-queue-type": "classic"}),)))
