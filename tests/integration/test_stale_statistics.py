"""A burst after idleness: the statistics still say that the tables which come and go are empty."""

from collections.abc import AsyncIterator
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio

from adapters.beat_store import PgBeatStore
from adapters.event_log import connect
from adapters.handler_store import PgHandlerStore
from adapters.pipeline import Connection
from domain.ports.handling import Beat, Writes
from domain.reports import Heartbeat, HeldRun
from tests.support.database import Database

pytestmark = pytest.mark.integration
RUNS = [UUID(int=number) for number in range(1, 1001)]
LEASES = (
    "INSERT INTO leases (run_id, fence, task, worker_id, generation, until) "
    "SELECT run, 1, run, 'W1', 1, 12 FROM unnest(%s::uuid[]) AS run"
)


@pytest_asyncio.fixture
async def burst(pg: Database) -> AsyncIterator[Connection]:
    """1,000 leases of which the planner believes that there are none; no statement may take longer than 2 s."""
    with psycopg.connect(pg.owner, autocommit=True) as owner:
        owner.execute(LEASES, (RUNS,))
        owner.execute("DELETE FROM leases")
        owner.execute("ANALYZE leases")
        owner.execute(LEASES, (RUNS,))
    async with await connect(pg.app, "test") as connection:
        await connection.execute("SET plan_cache_mode = force_generic_plan")  # as after five executions
        await connection.execute("SET statement_timeout = '2s'")
        yield connection


async def count(connection: Connection, condition: str) -> int:
    cursor = await connection.execute(f"SELECT count(*) FROM leases WHERE {condition}".encode())
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def test_a_beat_renews_a_thousand_leases(burst: Connection) -> None:
    runs = tuple(HeldRun(run_id=run, fence=1, state="running") for run in RUNS)

    await PgBeatStore(burst).record([Beat(Heartbeat(worker_id="W1", generation=1, beat=1, runs=runs))])

    assert await count(burst, "accepted") == 1000


async def test_a_batch_of_reports_closes_a_thousand_leases(burst: Connection) -> None:
    await PgHandlerStore(burst).commit(Writes(closed=[(run, 1) for run in RUNS]))

    assert await count(burst, "true") == 0
