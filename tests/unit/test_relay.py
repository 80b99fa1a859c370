"""What subscribers of `task.events` are sent, and when the position moves."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from adapters.amqp_frames import ce_headers
from adapters.in_memory.broker import InMemoryBroker
from adapters.in_memory.event_log import MemoryLog, MemorySeat, MemoryTurn
from adapters.intake import Intake
from consumers import following
from consumers.relay import Relay, auth_type, event_message
from domain import events as e
from domain.errors import Unavailable
from domain.ids import derived_id
from domain.messages import Cause
from domain.ports.broker import Delivery, Outgoing
from domain.ports.topology import Binding, Queue, Topology
from domain.recorded import NewEvent
from infra.topology import TOPOLOGY
from tests.support.ended_tasks import CAUSE, NOW, TASK, TASK_2, Hands, stored, succeeded

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Place:
    """A log of two tasks, and a relay to a broker in memory."""

    def __init__(self) -> None:
        self.log = MemoryLog(Hands())
        self.log.append([*succeeded(TASK), *succeeded(TASK_2)])
        self.broker = InMemoryBroker()
        self.seat = MemorySeat(self.log, "relay", MemoryTurn)
        self.relay = Relay(self.seat, self.broker.publisher(), pauses=(0, 0, 0))

    async def step(self) -> bool:
        return await self.relay.step(await self.seat.page(1000))

    @property
    def sent(self) -> list[str]:
        return [str(message.id) for message in self.broker.published]

    @property
    def stored(self) -> list[str]:
        return [str(event.event_id) for event in self.log.events]


async def place() -> Place:
    made = Place()
    await made.broker.declare(TOPOLOGY)
    return made


async def test_every_event_is_sent_once_in_the_order_of_the_log() -> None:
    here = await place()

    assert await here.step() is False
    assert await here.step() is False

    assert here.sent == here.stored
    assert here.seat.position == 4


async def test_after_a_full_page_there_may_be_more(monkeypatch: pytest.MonkeyPatch) -> None:
    here = await place()
    monkeypatch.setattr(following, "PAGE", 4)

    assert await here.step() is True


async def test_what_was_not_confirmed_is_sent_again() -> None:
    here = await place()
    here.broker.down = Unavailable("broker: down")
    with pytest.raises(Unavailable):
        await here.step()
    assert here.seat.position == 0
    here.broker.down = None

    await here.step()

    assert here.sent == here.stored


FULL = Queue("client.full", {"x-max-length": 1, "x-overflow": "reject-publish"})


async def with_a_full_queue(key: str) -> Place:
    """Somebody's queue takes one event that fits `key` and then refuses; another one takes all."""
    here = await place()
    await here.broker.declare(
        Topology(
            queues=(FULL, Queue("client.good")),
            bindings=(Binding("task.events", "client.full", key), Binding("task.events", "client.good", "#")),
        )
    )
    return here


def unique(deliveries: Sequence[Delivery]) -> list[str | None]:
    """Ids in the order in which each came last."""
    return list(reversed(dict.fromkeys(delivery.message_id for delivery in reversed(deliveries))))


async def test_a_full_queue_that_refuses_keeps_no_event_from_other_subscribers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = await with_a_full_queue("#")

    await here.step()

    assert unique(here.broker.waiting("client.good")) == here.stored
    assert len(here.broker.waiting("client.full")) == 1
    assert (here.seat.position, here.relay.passed_over) == (4, 3)
    [entry] = caplog.records
    assert (entry.levelname, "positions 2 to 4" in entry.getMessage()) == ("WARNING", True)


async def test_while_a_queue_refuses_each_event_is_sent_once() -> None:
    here = await with_a_full_queue("#")
    await here.step()
    before = len(here.broker.published)

    here.log.append(succeeded(derived_id(TASK, "third")))
    await here.step()

    assert here.sent[before:] == here.stored[4:]
    assert here.relay.passed_over == 5


async def test_once_a_queue_takes_events_again_they_are_sent_together_again() -> None:
    here = await with_a_full_queue("#")
    await here.step()
    await received_all(here, "client.full")
    here.log.append(succeeded(derived_id(TASK, "third"))[:1])
    await here.step()

    assert here.relay.one_by_one is False
    assert [delivery.message_id for delivery in here.broker.waiting("client.full")] == here.stored[4:]


async def received_all(here: Place, queue: str) -> None:
    subscription = here.broker.subscription(Intake(queue, 100))
    await subscription.ack((await subscription.batch(100))[-1])


async def test_a_queue_that_is_full_for_a_moment_loses_nothing() -> None:
    here = await with_a_full_queue("task.succeeded.#")
    publisher = here.broker.publisher()

    class Emptied:
        """Its second publish finds room again."""

        async def publish(self, messages: Sequence[Outgoing]) -> None:
            if here.broker.published:
                await received_all(here, "client.full")
            await publisher.publish(messages)

    here.relay.publisher = Emptied()

    await here.step()

    assert here.relay.passed_over == 0
    assert unique(here.broker.waiting("client.good")) == here.stored


def test_an_event_is_sent_byte_for_byte_with_its_place_and_cause() -> None:
    cause = Cause("chain", "command", "alice", TRACE, "vendor=1")
    event = e.TaskFailed(task_id="T1", reason="oom", runs=1, exit_code=137)
    recorded = stored(NewEvent(TASK, 3, "analytics", event, cause), position=81234)

    assert event_message(recorded) == Outgoing(
        exchange="task.events",
        routing_key="task.failed.analytics",
        type="task.failed.v1",
        id=recorded.event_id,
        body=recorded.body,
        headers={
            "ce-source": "/namespaces/analytics/tasks",
            "ce-subject": str(TASK),
            "ce-time": "2026-11-21T03:12:40Z",
            "ce-dataschema": "/v1/schemas/task.failed.v1",
            "ce-position": "81234",
            "ce-version": "3",
            "ce-correlationid": "chain",
            "ce-causationid": "command",
            "ce-authtype": "user",
            "ce-authid": "alice",
            "traceparent": TRACE,
            "tracestate": "vendor=1",
        },
        correlation_id="chain",
        mandatory=False,
        at=NOW,
    )


def test_what_has_no_namespace_is_sent_under_an_underscore() -> None:
    event = e.WorkerLost(worker_id="w1", generation=1)
    recorded = stored(NewEvent(TASK, 1, "", event, Cause("chain", "command", "timekeeper")))

    message = event_message(replace(recorded, recorded_at=NOW + timedelta(microseconds=5)))

    assert (message.routing_key, message.headers["ce-source"]) == ("worker.lost._", "/namespaces/_/workers")
    assert message.headers["ce-time"] == "2026-11-21T03:12:40.000005Z"


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        ("alice", "user"),
        ("anonymous", "unauthenticated"),
        ("saga", "system"),
        ("timekeeper", "system"),
        ("dispatcher", "system"),
        ("notifier", "system"),
        ("worker:w1", "service_account"),
    ],
)
def test_who_decided_is_told_in_the_words_of_cloudevents(actor: str, expected: str) -> None:
    assert auth_type(actor) == expected


def test_the_cloudevents_library_reads_what_is_sent() -> None:
    recorded = stored(NewEvent(TASK, 3, "analytics", e.TaskSucceeded(task_id="T1", runs=1), CAUSE), position=7)
    message = event_message(recorded)
    headers = {name: str(value) for name, value in ce_headers(message).items()}

    read = from_binary(RabbitMQMessage(headers, message.content_type, message.body), JSONFormat())

    assert (read.get_id(), read.get_type(), read.get_source()) == (
        str(recorded.event_id),
        "task.succeeded.v1",
        "/namespaces/analytics/tasks",
    )
    assert (read.get_time(), read.get_subject(), read.get_extension("position")) == (NOW, str(TASK), "7")
    assert read.get_data() == {"task_id": "T1", "runs": 1}
