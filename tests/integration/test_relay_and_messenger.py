"""From a real log to real queues."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from adapters.beat_store import PgBeatStore
from adapters.broker import Broker, Intake
from adapters.broker import connect as broker_at
from adapters.event_log import append_events, connect
from adapters.in_memory.traces import NoTraces
from adapters.messenger_store import MessengerPgTurn
from adapters.seat import PgSeat, PgTurn
from consumers.following import follow
from consumers.messenger import TYPES, Messenger
from consumers.relay import Relay
from domain import events as e
from domain.ids import derived_id
from domain.ports.broker import Delivery
from domain.ports.handling import Beat
from domain.ports.topology import Binding, Queue, Topology
from domain.recorded import NewEvent, new_events
from domain.reports import Heartbeat
from domain.specs import TaskSpec
from domain.work import RunOffer, WorkerSync
from infra.topology import TOPOLOGY, work_queue, worker_topology
from tests.support.broker import Vhost
from tests.support.database import Database
from tests.support.ended_tasks import CAUSE, TASK, history
from tests.support.messenger_place import RUN, leased

pytestmark = pytest.mark.integration
STOP = asyncio.Event()
LEASE = "INSERT INTO leases (run_id, fence, task, worker_id, generation, until) VALUES (%s, 1, %s, 'w1', 3, 12)"
SUBSCRIBED = Topology(
    queues=(Queue("client.events", {"x-queue-type": "quorum"}),),
    bindings=(Binding("task.events", "client.events", "*.succeeded.#"),),
)


async def append(dsn: str, events: Sequence[NewEvent]) -> None:
    async with await connect(dsn, "test") as connection, connection.transaction():
        await append_events(connection, events)


async def arriving(broker: Broker, queue: str, count: int) -> list[Delivery]:
    subscription, got = broker.subscription(Intake(queue, 1000)), list[Delivery]()
    async with asyncio.timeout(20):
        while len(got) < count:
            got += await subscription.batch(count - len(got))
    await subscription.ack(got[-1])
    await subscription.pause()
    return got


@asynccontextmanager
async def running(loop: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    task = asyncio.create_task(loop)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def relaying(dsn: str, broker: Broker) -> AsyncGenerator[None]:
    async with PgSeat(dsn, "relay", PgTurn) as seat, running(follow(seat, Relay(seat, broker.publisher()).step, STOP)):
        yield


async def test_subscribers_get_every_event_they_bound_in_the_order_of_the_log(pg: Database, vhost: Vhost) -> None:
    tasks = [derived_id(TASK, str(number)) for number in range(700)]
    ends = [e.TaskSucceeded(task_id=f"T{number}", runs=1) for number in range(700)]

    async with broker_at(vhost.platform, "test") as broker:
        await broker.declare(TOPOLOGY)
        await broker.declare(SUBSCRIBED)
        async with relaying(pg.app, broker):
            for start in range(0, 700, 100):
                pairs = zip(tasks[start : start + 100], ends[start : start + 100], strict=True)
                await append(pg.app, [new for task, end in pairs for new in history(task, end)])
            got = await arriving(broker, "client.events", 700)

    assert [delivery.headers["ce-subject"] for delivery in got] == [str(task) for task in tasks]
    assert [delivery.body for delivery in got] == [end.body() for end in ends]
    positions = [int(str(delivery.headers["ce-position"])) for delivery in got]
    assert positions == sorted(positions)


FULL: dict[str, Any] = {"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"}


async def test_a_full_queue_that_refuses_keeps_no_event_from_other_subscribers(pg: Database, vhost: Vhost) -> None:
    tasks = [derived_id(TASK, str(number)) for number in range(60)]
    refusing = Topology(
        queues=(Queue("client.full", FULL),), bindings=(Binding("task.events", "client.full", "*.succeeded.#"),)
    )

    async with broker_at(vhost.platform, "test") as broker:
        await broker.declare(TOPOLOGY)
        await broker.declare(SUBSCRIBED)
        await broker.declare(refusing)
        async with relaying(pg.app, broker):
            for start in (0, 30):
                ends = [history(task, e.TaskSucceeded(task_id="T", runs=1)) for task in tasks[start : start + 30]]
                await append(pg.app, [new for events in ends for new in events])
            seen: dict[object, None] = {}
            while len(seen) < len(tasks):
                for delivery in await arriving(broker, "client.events", 1):
                    seen[delivery.headers["ce-subject"]] = None

    assert list(seen) == [str(task) for task in tasks]


async def test_relays_that_end_and_lose_connections_leave_no_event_out(pg: Database, vhost: Vhost) -> None:
    tasks = [derived_id(TASK, str(number)) for number in range(20)]
    seen: dict[object, None] = {}

    async with broker_at(vhost.platform, "test") as broker, broker_at(vhost.platform, "reader") as reader:
        await broker.declare(TOPOLOGY)
        await broker.declare(SUBSCRIBED)
        for task in tasks:
            async with relaying(pg.app, broker):
                broker.cut()
                await append(pg.app, history(task, e.TaskSucceeded(task_id="T1", runs=1)))
                while str(task) not in seen:  # an event whose position was not saved comes again
                    (got,) = await arriving(reader, "client.events", 1)
                    seen[got.headers["ce-subject"]] = None

    assert list(seen) == [str(task) for task in tasks]


async def test_a_lease_that_nobody_took_and_a_beat_reach_their_worker(pg: Database, vhost: Vhost) -> None:
    submitted = e.TaskSubmitted(task_id="T1", spec=TaskSpec(executor="noop"))
    async with (
        broker_at(vhost.platform, "test") as broker,
        PgSeat(pg.app, "messenger", MessengerPgTurn, ("tally_log", "tally_beats")) as seat,
        await connect(pg.app, "test") as connection,
    ):
        await broker.declare(TOPOLOGY)
        await broker.declare(worker_topology("w1"))
        messenger = Messenger(seat, broker.publisher(), NoTraces(), uuid7)
        async with running(follow(seat, messenger.step, STOP, TYPES)):
            async with connection.transaction():
                await connection.execute(LEASE, (RUN, TASK))
                await append_events(connection, new_events(TASK, 0, "analytics", [submitted, leased(RUN)], CAUSE))
            (offer,) = await arriving(broker, work_queue("w1"), 1)
            await PgBeatStore(connection).record([Beat(Heartbeat(worker_id="w1", generation=3, beat=812))])
            (sync,) = await arriving(broker, work_queue("w1"), 1)

    assert [run.run_id for run in RunOffer.model_validate_json(offer.body).runs] == [RUN]
    assert WorkerSync.model_validate_json(sync.body) == WorkerSync(generation=3, beat=812, register_again=True)
    assert UUID(str(offer.message_id)) != UUID(str(sync.message_id))
