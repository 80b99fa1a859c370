"""The topology at a real RabbitMQ."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pika
import pytest

from adapters.broker import connect
from adapters.intake import Intake
from domain.errors import Unroutable
from domain.ports.broker import Delivery, Outgoing, Publisher
from infra.topology import TOPOLOGY, work_queue, worker_topology
from tests.support.broker import Management, Vhost

pytestmark = pytest.mark.integration
DEFINITIONS = Path(__file__).parents[2] / "docs/reference/definitions.json"
ID = UUID("019abcde-0000-7000-8000-000000000001")


async def test_the_exported_definitions_are_what_is_declared(
    vhost: Vhost, broker: tuple[dict[str, str], Management]
) -> None:
    async with connect(vhost.platform, "test") as own:
        await own.declare(TOPOLOGY)
        broker[1].call("POST", f"/definitions/{vhost.name}", json.loads(DEFINITIONS.read_text()))
        await own.declare(TOPOLOGY)

    there = broker[1].call("GET", f"/definitions/{vhost.name}")
    wanted: dict[str, Any] = json.loads(DEFINITIONS.read_text())
    for kind in ("exchanges", "queues", "bindings"):
        assert _plain(there[kind]) == _plain(wanted[kind])


def _plain(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


async def test_a_worker_declares_and_reads_its_own_queue_with_its_own_account(vhost: Vhost) -> None:
    async with connect(vhost.platform, "platform") as platform, connect(vhost.worker, "worker") as worker:
        await platform.declare(TOPOLOGY)

        async def declare() -> None:
            await worker.declare(worker_topology("host-1"))

        subscription = worker.subscription(Intake(work_queue("host-1"), 10, exclusive=True, prepare=declare))
        reading = asyncio.create_task(subscription.batch(10))
        await _sent_once_bound(platform.publisher(), Outgoing("task.work", "host-1", "run.offer.v1", ID, b"{}"))

        (offer,) = await asyncio.wait_for(reading, 10)
        assert (offer.type, offer.routing_key) == ("run.offer.v1", "host-1")


async def _sent_once_bound(publisher: Publisher, message: Outgoing) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                return await publisher.publish([message])
            except Unroutable:
                continue


async def test_a_command_that_expires_in_the_queue_is_kept_as_dead(vhost: Vhost) -> None:
    async with connect(vhost.platform, "platform") as platform:
        await platform.declare(TOPOLOGY)
        command = Outgoing(
            "task.commands", "task.submit.default", "task.submit.v1", ID, b"{}", expires_after=timedelta(0)
        )
        await platform.publisher().publish([command])

        (dead,) = await asyncio.wait_for(platform.subscription(Intake("task.dead", 10)).batch(10), 10)

    assert (dead.message_id, dead.headers["x-first-death-reason"]) == (str(ID), "expired")


async def test_the_queue_of_the_dead_gives_up_on_nothing(vhost: Vhost) -> None:
    async with connect(vhost.platform, "platform") as platform:
        await platform.declare(TOPOLOGY)
        await platform.publisher().publish([Outgoing("task.dead", "task.submit.x", "task.submit.v1", ID, b"{}")])
        subscription, got = platform.subscription(Intake("task.dead", 10)), list[Delivery]()

        while len(got) < 30:
            got += await asyncio.wait_for(subscription.batch(10), 10)
            await subscription.pause()

    assert {delivery.message_id for delivery in got} == {str(ID)}
    assert got[-1].redelivered


async def test_what_a_stranger_puts_into_a_message_does_not_end_the_connection(vhost: Vhost) -> None:
    async with connect(vhost.platform, "platform") as platform:
        await platform.declare(TOPOLOGY)
        await asyncio.to_thread(_publish_odd_ones, vhost.client)
        subscription = platform.subscription(Intake("task.commands.handler", 10))
        got: list[Delivery] = []
        async with asyncio.timeout(10):
            while len(got) < 3:
                got += await subscription.batch(10)

    assert [delivery.redelivered for delivery in got] == [False] * 3
    assert "" in got[0].headers
    assert got[1].headers == {"t": b"\xff\xfe"}


def _publish_odd_ones(url: str) -> None:
    nested: Any = "x"
    for _ in range(100):
        nested = {"t": nested}
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for properties in (
            pika.BasicProperties(headers=nested),
            pika.BasicProperties(headers={"t": b"\xff\xfe"}, timestamp=2**63 - 1, priority=255),
            pika.BasicProperties(timestamp=0, delivery_mode=1),
        ):
            channel.basic_publish("task.commands", "task.submit.default", b"{}", properties)
