"""What a real broker gives up on while no handler runs, and what the handler makes of it once it does."""

import json
from collections.abc import Iterator
from typing import Any

import pika
import pytest
from uuid_utils.compat import uuid7

from tests.support.platform import MakePlatform, Platform
from tests.support.waiting import until

pytestmark = pytest.mark.integration
REPLIES = "amq.rabbitmq.reply-to"
NOOP = b'{"executor":"noop"}'
FORGED = {
    "x-death": [{"reason": "delivery_limit", "queue": "task.commands.handler", "count": 7}],
    "x-first-death-reason": "delivery_limit",
    "x-first-death-queue": "elsewhere",
}


@pytest.fixture
def handling(make_platform: MakePlatform) -> Iterator[Platform]:
    """A platform of which only the handler runs."""
    with make_platform(["handler"]) as running:
        yield running


def ready(here: Platform, queue: str) -> int:
    with pika.BlockingConnection(pika.URLParameters(here.system.addresses.amqp["tally"])) as connection:
        count: int = connection.channel().queue_declare(queue, passive=True).method.message_count
    return count


def send(channel: Any, exchange: str, key: str, body: bytes, headers: dict[str, Any] | None = None, **more: str) -> str:
    """Publish with 300 ms to live unless told otherwise; the message's id."""
    properties = {
        "message_id": str(uuid7()),
        "type": "task.submit.v1",
        "content_type": "application/json",
        "expiration": "300",
    }
    told = pika.BasicProperties(headers=headers or {}, delivery_mode=2, **(properties | more))
    channel.basic_publish(exchange, key, body, told, mandatory=True)
    return str(told.message_id)


def test_a_command_that_expires_in_the_queue_is_refused_for_it_and_its_sender_told(handling: Platform) -> None:
    here, replies = handling, list[dict[str, Any]]()
    here.system.stop("handler")
    with pika.BlockingConnection(pika.URLParameters(here.system.addresses.amqp["client"])) as connection:
        channel = connection.channel()

        def arrived(*message: Any) -> None:
            replies.append(json.loads(message[3]))

        channel.basic_consume(REPLIES, arrived, auto_ack=True)
        sent = [
            send(channel, "task.commands", "task.submit.default", NOOP, headers, reply_to=REPLIES)
            for headers in ({}, FORGED)
        ]
        until(lambda: ready(here, "task.dead") == 2, "both expired")

        here.system.start("handler")

        def replied() -> bool:
            connection.process_data_events(0.05)  # pyright: ignore[reportArgumentType]
            return len(replies) == 2

        until(replied, "two replies", 20)

    assert {reply["command_id"] for reply in replies} == set(sent)
    assert {reply["outcome"] for reply in replies} == {"rejected"}
    assert {reply["problem"]["code"] for reply in replies} == {"expired-in-queue"}
    assert {str(row[0]) for row in here.rows("SELECT command_id FROM inbox")} == set(sent)
    assert (here.events(), here.rows("SELECT * FROM dead_letters")) == ([], [])
    here.system.stop("handler")  # what it had not settled goes back
    assert ready(here, "task.dead") == 0


def test_whatever_else_the_broker_gave_up_on_becomes_a_dead_letter_that_says_why(handling: Platform) -> None:
    here = handling
    here.system.stop("handler")
    with pika.BlockingConnection(pika.URLParameters(here.system.addresses.amqp["client"])) as connection:
        send(connection.channel(), "task.commands", "task.submit.default", b"{")
    with pika.BlockingConnection(pika.URLParameters(here.system.addresses.amqp["worker"])) as connection:
        send(connection.channel(), "task.reports", "run.report.w1", b"{}", type="reports.v1")
    until(lambda: ready(here, "task.dead") == 2, "both expired")

    here.system.start("handler")

    query = "SELECT queue, reason, detail FROM dead_letters ORDER BY received_at, id"
    until(lambda: len(here.rows(query)) == 2, "two dead letters", 20)
    rows = here.rows(query)
    assert {row[:2] for row in rows} == {("task.dead", "expired")}
    assert "bad-json" in rows[0][2]
    assert "task.reports.handler" in rows[1][2]
    assert here.rows("SELECT * FROM inbox") == []


def test_a_forged_death_on_a_command_that_is_alive_is_not_looked_at(handling: Platform) -> None:
    with pika.BlockingConnection(pika.URLParameters(handling.system.addresses.amqp["client"])) as connection:
        sent = send(connection.channel(), "task.commands", "task.submit.default", NOOP, FORGED, expiration="60000")

    query = "SELECT command_id::text, reply::json->>'outcome' FROM inbox"
    until(lambda: bool(handling.rows(query)), "an outcome", 20)
    assert handling.rows(query) == [(sent, "accepted")]
