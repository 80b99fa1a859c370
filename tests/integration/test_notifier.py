"""The notifier on PostgreSQL with a real receiver: killed between sending and recording, it sends the same id again."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest

from adapters.clock import SystemClock
from adapters.event_log import append_events, connect
from adapters.in_memory.traces import NoTraces
from adapters.ledger import NotifierPgTurn
from adapters.seat import PgSeat
from adapters.webhooks import WebhookChannel, http_client
from consumers.notifier import Notifier
from domain.recorded import NewEvent
from tests.support.database import Database
from tests.support.ended_tasks import TASK, TASK_2, failed, succeeded
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

SECRET = "whsec_" + "c2VjcmV0" * 4
ENDS = frozenset({"task.succeeded.v1", "task.failed.v1"})


@asynccontextmanager
async def notifying(pg: Database, **receivers: Receiver) -> AsyncGenerator[asyncio.Task[None]]:
    """A notifier with one webhook channel a receiver; cancelled at the end, as if it were killed."""
    async with http_client() as client, PgSeat(pg.app, "notifier", NotifierPgTurn) as seat:
        channels = {
            name: WebhookChannel(
                f"webhook+http://127.0.0.1:{receiver.port}/", SECRET, client, SystemClock(), allow_private=True
            )
            for name, receiver in receivers.items()
        }
        notifier = Notifier(seat, channels, dict.fromkeys(channels, ENDS), NoTraces(), share=lambda: 0.0)
        run = asyncio.create_task(notifier.run(asyncio.Event()))
        try:
            yield run
        finally:
            run.cancel()
            with suppress(asyncio.CancelledError):
                await run


async def append(pg: Database, events: Sequence[NewEvent]) -> None:
    async with await connect(pg.app, "test") as connection, connection.transaction():
        await append_events(connection, events)


async def rows(pg: Database) -> list[tuple[str, str, int]]:
    async with await psycopg.AsyncConnection.connect(pg.read) as connection:
        cursor = await connection.execute("SELECT channel, status, tries FROM notifications ORDER BY channel, stream")
        return await cursor.fetchall()


async def settled(pg: Database, *wanted: tuple[str, str, int]) -> None:
    async def there() -> bool:
        return await rows(pg) == list(wanted)

    await eventually(there, f"the ledger holds {wanted}")


async def test_a_receiver_that_fails_gets_the_same_id_until_it_takes_it(pg: Database) -> None:
    await append(pg, failed(TASK, "ops"))
    async with receiving(500, 302, "reset", 200) as receiver, notifying(pg, ops=receiver):
        await settled(pg, ("ops", "sent", 4))
    assert len(receiver.requests) == 4
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len({request.body for request in receiver.requests}) == 1


async def test_a_notifier_killed_between_sending_and_recording_sends_the_same_id_again(pg: Database) -> None:
    await append(pg, failed(TASK, "ops"))
    async with receiving("hang", 200) as receiver:
        async with notifying(pg, ops=receiver):
            await receiver.wait_for(1)
        assert await rows(pg) == [("ops", "due", 0)]
        async with notifying(pg, ops=receiver):
            await settled(pg, ("ops", "sent", 1))
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


async def test_a_channel_that_hangs_delays_no_other(pg: Database) -> None:
    await append(pg, succeeded(TASK, "ops", "slow"))
    await append(pg, failed(TASK_2, "ops", "slow"))
    async with receiving("hang", "hang") as slow, receiving() as ops, notifying(pg, slow=slow, ops=ops):
        await settled(pg, ("ops", "sent", 1), ("ops", "sent", 1), ("slow", "due", 0), ("slow", "due", 0))


async def test_what_became_of_a_notification_is_an_event_caused_by_the_end(pg: Database) -> None:
    await append(pg, failed(TASK, "ops", "opps"))
    async with receiving() as receiver, notifying(pg, ops=receiver):
        await settled(pg, ("opps", "abandoned", 1), ("ops", "sent", 1))
    async with await psycopg.AsyncConnection.connect(pg.read) as connection:
        cursor = await connection.execute(
            "SELECT n.topic, n.actor, n.correlation_id FROM events AS n JOIN events AS e "
            "ON n.causation_id = e.event_id::text WHERE e.topic = 'task.failed.v1' ORDER BY 1"
        )
        assert await cursor.fetchall() == [
            ("notification.failed.v1", "notifier", "chain"),
            ("notification.sent.v1", "notifier", "chain"),
        ]


async def test_only_one_notifier_sends(pg: Database) -> None:
    async with receiving() as receiver, notifying(pg, ops=receiver):
        standby = asyncio.create_task(_stand_by(pg))
        await append(pg, failed(TASK, "ops"))
        await settled(pg, ("ops", "sent", 1))
        assert not standby.done()
        standby.cancel()
        with suppress(asyncio.CancelledError):
            await standby
    assert len(receiver.requests) == 1


async def _stand_by(pg: Database) -> None:
    async with PgSeat(pg.app, "notifier", NotifierPgTurn):
        pass
