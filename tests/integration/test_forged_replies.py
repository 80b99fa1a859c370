"""Commands whose `reply_to` leads nowhere, or where it must not: the same handler decides and answers all others."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker
from uuid_utils.compat import uuid7

from tests.support.platform import MakePlatform, Platform
from tests.support.waiting import until

pytestmark = pytest.mark.integration
REPLIES = "amq.rabbitmq.reply-to"
NOOP = b'{"executor":"noop"}'
CRASHES = f"{REPLIES}.g1h2AAAAAAAAAAAAAAAA.AAAA=="
"""The broker decodes it as the address of a process of its own, fails, and ends the publisher's connection."""
FULL = "client.full"
FORGED = {
    "no queue": "no-such-queue",
    "the longest name": "q" * 255,
    "no letters": "\N{SNOWMAN}" * 85,
    "nobody's reply-to": f"{REPLIES}.",
    "a made-up reply-to": f"{REPLIES}.forged",
    "a reply-to that breaks the connection": CRASHES,
    "a queue that refuses": FULL,
}
PLATFORMS = {
    "a worker's queue": "task.work.w1",
    "the queue of the dead": "task.dead",
    "the commands": "task.commands.handler",
    "the reports": "task.reports.handler",
    "the beats": "task.beats.handler",
}


@dataclass(slots=True)
class Client:
    """A user's connection, and the ids of his commands that were answered."""

    platform: Platform
    channel: Any
    answered: set[str] = field(default_factory=set[str])

    def send(self, reply_to: str) -> str:
        """Publish a command; its id."""
        told = pika.BasicProperties(
            message_id=str(uuid7()), type="task.submit.v1", content_type="application/json", reply_to=reply_to
        )
        self.channel.basic_publish("task.commands", "task.submit.default", NOOP, told, mandatory=True)
        return str(told.message_id)

    def wait_for_replies(self, sent: set[str]) -> None:
        def replied() -> bool:
            self.channel.connection.process_data_events(0.05)
            return sent <= self.answered

        until(replied, "replies to all who can be answered", 30)

    def handled(self) -> set[str]:
        return {
            str(row[0]) for row in self.platform.rows("SELECT command_id FROM inbox WHERE reply LIKE '%%accepted%%'")
        }


@pytest.fixture(scope="module")
def handling(make_platform: MakePlatform) -> Iterator[Platform]:
    """A platform of which only the handler runs."""
    with make_platform(["handler"]) as running:
        yield running


@pytest.fixture
def client(handling: Platform) -> Iterator[Client]:
    with pika.BlockingConnection(pika.URLParameters(handling.system.addresses.amqp["client"])) as connection:
        channel = connection.channel()
        full = {"x-max-length": 0, "x-overflow": "reject-publish"}
        channel.queue_declare(FULL, durable=True, arguments=full)
        told = Client(handling, channel)

        def arrived(*message: Any) -> None:
            told.answered.add(json.loads(message[3])["command_id"])

        channel.basic_consume(REPLIES, arrived, auto_ack=True)
        yield told


@pytest.mark.parametrize("reply_to", FORGED.values(), ids=FORGED)
def test_a_reply_that_goes_astray_costs_nobody_else_his(client: Client, reply_to: str) -> None:
    handler = client.platform.system.children["handler"]

    before, forged, after = client.send(REPLIES), client.send(reply_to), client.send(REPLIES)

    client.wait_for_replies({before, after})
    assert {before, forged, after} <= client.handled()
    assert client.platform.system.children["handler"] is handler
    assert handler.poll() is None


@pytest.mark.parametrize("queue", PLATFORMS.values(), ids=PLATFORMS)
def test_a_reply_that_would_land_in_a_queue_of_the_platform_is_not_sent_and_its_command_refused(
    client: Client, queue: str
) -> None:
    def dead() -> list[tuple[Any, ...]]:
        return client.platform.rows("SELECT reason, detail FROM dead_letters")

    assert dead() == []
    before, forged, after = client.send(REPLIES), client.send(queue), client.send(REPLIES)

    client.wait_for_replies({before, after})
    refused = client.platform.rows("SELECT reply::json #>> '{problem,code}' FROM inbox WHERE command_id = %s", forged)
    assert refused == [("bad-reply-to",)]
    client.wait_for_replies({client.send(REPLIES)})
    assert dead() == []


def test_in_one_batch_with_a_reply_that_breaks_the_connection_the_others_are_answered(client: Client) -> None:
    client.platform.system.stop("handler")
    sent = [(reply_to, client.send(reply_to)) for reply_to in (REPLIES, CRASHES, REPLIES, FULL, REPLIES)]

    client.platform.system.start("handler")

    client.wait_for_replies({command for reply_to, command in sent if reply_to == REPLIES})
    assert {command for _, command in sent} <= client.handled()
    assert client.platform.system.children["handler"].poll() is None


def test_who_asks_for_direct_replies_without_listening_is_told_by_the_broker(client: Client) -> None:
    with pika.BlockingConnection(pika.URLParameters(client.platform.system.addresses.amqp["client"])) as connection:
        deaf = Client(client.platform, connection.channel())
        deaf.channel.confirm_delivery()
        with pytest.raises(ChannelClosedByBroker) as caught:
            deaf.send(REPLIES)

    assert caught.value.reply_code == 406
    client.wait_for_replies({client.send(REPLIES)})
