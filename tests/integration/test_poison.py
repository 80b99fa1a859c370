"""Messages that kill their handler, on a real queue with a real count: only they are set aside."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from adapters.broker import connect as broker_at
from adapters.clock import SystemClock
from adapters.event_log import connect
from adapters.handler_store import PgHandlerStore
from adapters.intake import Intake as Taking
from consumers.intake import Intake
from domain.ports.broker import Delivery, Outgoing
from infra.topology import COMMANDS_QUEUE, TOPOLOGY
from tests.support.broker import Vhost
from tests.support.database import Database

pytestmark = pytest.mark.integration
GOOD, BAD = [f"good {n}" for n in range(60)], [f"bad {n}" for n in range(3)]


class Killed(Exception):
    """The process is gone."""


@dataclass(slots=True)
class Hand:
    """Dies of what is bad."""

    handled: set[str] = field(default_factory=set[str])

    async def __call__(self, deliveries: Sequence[Delivery], waited: timedelta) -> list[Delivery]:
        names = {delivery.body.decode() for delivery in deliveries}
        if names & set(BAD):
            raise Killed
        self.handled |= names
        return []


async def live(vhost: Vhost, store: PgHandlerStore, hand: Hand, count: int) -> bool:
    """One life of a handler's process; whether it outlived its queue of `count` messages."""
    async with broker_at(vhost.platform, "handler") as broker:
        intake = Intake(broker.subscription(Taking(COMMANDS_QUEUE, 200)), hand, store, SystemClock())
        try:
            while len(hand.handled) < count or await aside(store) < len(BAD):
                await intake.round()
        except Killed:
            broker.cut()
            return False
    return True


async def aside(store: PgHandlerStore) -> int:
    names = [str(id_of(name)) for name in BAD]
    return sum(times >= 5 for times in (await store.redelivered(names, 0)).values())


def id_of(name: str) -> UUID:
    return UUID(int=(GOOD + BAD).index(name) + 1)


async def test_messages_that_kill_their_handler_are_set_aside_and_no_other_is(pg: Database, vhost: Vhost) -> None:
    names = list(GOOD)
    for at, name in enumerate(BAD):
        names.insert(17 * at + 5, name)
    async with broker_at(vhost.platform, "client") as client:
        await client.declare(TOPOLOGY)
        await client.publisher().publish(
            [
                Outgoing("task.commands", "task.submit.default", "a.v1", id_of(name), name.encode(), user="tally")
                for name in names
            ]
        )
    hand, lives = Hand(), 1

    async with await connect(pg.app, "handler") as connection, asyncio.timeout(60):
        while not await live(vhost, PgHandlerStore(connection), hand, len(GOOD)):
            lives += 1

    assert hand.handled == set(GOOD)
    with psycopg.connect(pg.owner) as owner:
        rows = owner.execute("SELECT convert_from(body, 'UTF8'), reason FROM dead_letters ORDER BY 1").fetchall()
    assert rows == [(name, "poison") for name in BAD]
    assert lives <= 1 + 5 * len(BAD)
