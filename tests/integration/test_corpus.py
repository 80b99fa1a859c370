"""The bad-input corpus against a real handler: each case gets its reaction, and the next good message is handled."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pika
import pytest
from pydantic import TypeAdapter
from uuid_utils.compat import uuid7

from domain.events import TaskSubmitted
from domain.specs import TaskSpec
from domain.work import Reply
from infra.topology import COMMANDS, REPORTS
from tests.support.corpus import Case, cases
from tests.support.platform import MakePlatform, Platform

pytestmark = pytest.mark.integration
REPLIES = "amq.rabbitmq.reply-to"
GOOD = b'{"executor":"noop"}'


@dataclass
class Client:
    """A user's and a worker's connection, by the exchange that each may write to, and the replies to both so far."""

    platform: Platform
    channels: dict[str, Any]
    replies: list[Reply]

    def send(self, case: Case) -> None:
        told = pika.BasicProperties(headers=case.headers, reply_to=REPLIES, delivery_mode=2, **case.properties)
        self.channels[case.exchange].basic_publish(case.exchange, case.routing_key, case.body, told, mandatory=True)

    def send_good(self) -> str:
        message_id = str(uuid7())
        properties = {"message_id": message_id, "type": "task.submit.v1", "content_type": "application/json"}
        self.send(Case("good", properties, {}, GOOD, {}))
        return message_id

    def wait_for_reply(self, message_id: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while message_id not in {str(reply.command_id) for reply in self.replies}:
            assert time.monotonic() < deadline, f"no reply to {message_id}\n{self.platform.system.log('handler')}"
            for channel in self.channels.values():
                channel.connection.process_data_events(0.02)

    def dead(self) -> list[tuple[Any, ...]]:
        return self.platform.rows("SELECT reason FROM dead_letters ORDER BY received_at, id")


@pytest.fixture(scope="module")
def handling(make_platform: MakePlatform) -> Iterator[Platform]:
    """A platform of which only the handler runs."""
    with make_platform(["handler"]) as running:
        yield running


@pytest.fixture(scope="module")
def client(handling: Platform) -> Iterator[Client]:
    urls = handling.system.addresses.amqp
    with (
        pika.BlockingConnection(pika.URLParameters(urls["client"])) as user,
        pika.BlockingConnection(pika.URLParameters(urls["worker"])) as worker,
    ):
        told = Client(handling, {COMMANDS: user.channel(), REPORTS: worker.channel()}, [])
        read = TypeAdapter(Reply).validate_json

        def arrived(*message: Any) -> None:
            told.replies.append(read(message[3]))

        for channel in told.channels.values():
            channel.basic_consume(REPLIES, arrived, auto_ack=True)
        yield told


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_each_bad_message_gets_its_reaction_and_the_next_good_one_is_handled(client: Client, case: Case) -> None:
    client.replies.clear()
    dead, events = client.dead(), len(client.platform.events())

    client.send(case)
    if case.exchange != COMMANDS:  # two queues have no order
        client.wait_for_reply(case.properties["message_id"])
    good = client.send_good()

    client.wait_for_reply(good)
    refused = [reply for reply in client.replies if str(reply.command_id) != good]
    accepted = [reply.outcome for reply in client.replies if str(reply.command_id) == good]
    assert accepted == ["accepted"]
    assert [event.type for event in client.platform.events()[events:]] == ["task.submitted.v1", "task.queued.v1"]
    if "j" in case.expected:
        assert [reply.problem.code for reply in refused if reply.problem] == [case.expected["j"]]
        assert client.dead() == dead
    else:
        assert refused == []
        assert client.dead() == [*dead, (case.expected["q"],)]


def needing(*needs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"executor": "noop", "depends_on": needs, **more}


def test_what_needs_an_unknown_task_and_what_needs_one_of_another_namespace_are_refused_alike(client: Client) -> None:
    ask, unknown, foreign = client.platform.ask, str(uuid7()), str(uuid7())
    submitted = TaskSubmitted(task_id=foreign, spec=TaskSpec(executor="noop")).body()
    client.platform.connection.execute(
        "INSERT INTO events VALUES (%s, 1, 'task.submitted.v1', %s, DEFAULT, gen_random_uuid(), now(), 'analytics', "
        "'chain', 'command', 'bob', NULL, NULL)",
        (foreign, submitted),
    )

    told = [ask("task.submit.v1", needing({"task_id": one}))["problem"] for one in (unknown, foreign)]

    assert [problem["code"] for problem in told] == ["unknown-dependency", "unknown-dependency"]
    assert told[0]["detail"].replace(unknown, foreign) == told[1]["detail"]


def test_a_cycle_of_two_commands_is_refused_with_its_path(client: Client) -> None:
    first = client.platform.ask("task.submit.v1", needing({"task_id": "C2", "forward": "PT1H"}, task_id="C1"))
    events = len(client.platform.events())

    second = client.platform.ask("task.submit.v1", needing({"task_id": "C1"}, task_id="C2"))

    assert first["outcome"] == "accepted"
    assert second["problem"]["code"] == "dependency-cycle"
    assert "C2 -> C1 -> C2" in second["problem"]["detail"]
    assert len(client.platform.events()) == events


def test_the_same_parent_twice_is_stored_once(client: Client) -> None:
    client.platform.ask("task.submit.v1", {"executor": "noop", "task_id": "P1"})

    reply = client.platform.ask("task.submit.v1", needing({"task_id": "P1"}, {"task_id": "P1"}, task_id="P2"))

    assert reply["outcome"] == "accepted"
    submitted, blocked = client.platform.events("P2")
    assert [need["task_id"] for need in submitted.data["depends_on"]] == ["P1"]
    assert [one["task_id"] for one in blocked.data["by"]] == ["P1"]


def test_the_handler_that_saw_all_this_still_runs_and_left_nothing_in_its_queue(client: Client) -> None:
    client.wait_for_reply(client.send_good())

    system = client.platform.system
    assert system.children["handler"].poll() is None
    assert len(client.dead()) == sum("q" in case.expected for case in cases())
    system.stop("handler")  # what it had not settled goes back
    with pika.BlockingConnection(pika.URLParameters(system.addresses.amqp["tally"])) as connection:
        queue = connection.channel().queue_declare("task.commands.handler", passive=True)
        assert queue.method.message_count == 0
