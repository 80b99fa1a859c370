"""The conductor on PostgreSQL: killed rounds, moved streams, locked leases, and its loop in real time."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from adapters.beat_store import PgBeatStore
from adapters.conductor_sql import CROWD, LANES, WAITING
from adapters.event_log import connect
from domain.errors import Superseded
from domain.lanes import Lane
from domain.ports.broker import Outgoing
from domain.ports.handling import Beat
from domain.reports import Probe
from domain.task import Cancel
from domain.task_states import Leased
from tests.support.conducting import PgWorld, conductor, settle, spec, stream
from tests.support.database import Database
from tests.support.faults import Fuse, FusedSeat, Killed
from tests.support.run_order import check_runs
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tally conductor'"


@asynccontextmanager
async def world(pg: Database) -> AsyncGenerator[PgWorld]:
    async with await connect(pg.app, "test") as connection:
        yield PgWorld(pg.app, connection)


async def test_a_conductor_killed_at_every_statement_leaves_each_task_leased_once(pg: Database) -> None:
    async with world(pg) as there:
        await there.register("w1", slots=2)
        await there.submit_workflow(spec("a"), spec("b", "a"), spec("c"))
        for statements in range(24):
            async with there.seat() as seat:
                with suppress(Killed):
                    await settle(conductor(FusedSeat(seat, Fuse(statements))))
        assert await there.leases() == {"w1": 2}
        await there.finish("a")
        for statements in range(24):
            async with there.seat() as seat:
                with suppress(Killed):
                    await settle(conductor(FusedSeat(seat, Fuse(statements))))

        assert await there.leases() == {"w1": 2}
        for name in "abc":
            check_runs([row.event() for row in (await there.load([stream(name)]))[stream(name)]])
        assert await there.types("b") == ["submitted", "blocked", "queued", "run-leased"]


async def test_a_connection_that_breaks_before_the_commit_leaves_nothing_of_the_round(pg: Database) -> None:
    async with world(pg) as there:
        await there.register("w1")
        await there.submit(spec("a"))

        async def cut() -> None:
            with psycopg.connect(pg.owner) as owner:
                owner.execute(CUT)

        async with there.seat() as seat:
            with pytest.raises(psycopg.OperationalError):
                await settle(conductor(FusedSeat(seat, Fuse(intrude=cut))))
        assert await there.types("a") == ["submitted", "queued"]
        assert await there.leases() == {}

        async with there.seat() as seat:
            await settle(conductor(seat))

        assert await there.types("a") == ["submitted", "queued", "run-leased"]
        assert await there.leases() == {"w1": 1}


async def test_a_stream_that_moved_during_a_round_does_not_hold_up_the_others(pg: Database) -> None:
    async with world(pg) as there:
        await there.register("w1")
        await there.submit(spec("a"), spec("b"))
        async with there.seat() as seat:
            await settle(conductor(FusedSeat(seat, Fuse(intrude=lambda: there.decide("a", Cancel("alice"))))))

        assert await there.types("a") == ["submitted", "queued", "cancelled"]
        assert await there.types("b") == ["submitted", "queued", "run-leased"]
        assert await there.leases() == {"w1": 1}


async def test_a_conductor_whose_seat_was_taken_changes_nothing_more(pg: Database) -> None:
    async with world(pg) as there, there.seat() as seat:
        await there.register("w1")
        await there.submit(spec("a"))
        await there.connection.execute("UPDATE consumers SET turn = turn + 1 WHERE name = 'conductor'")

        with pytest.raises(Superseded):
            await settle(conductor(seat))

        assert await there.leases() == {}


async def test_a_lease_that_is_being_renewed_is_not_waited_for_and_has_not_expired(pg: Database) -> None:
    async with world(pg) as there, there.seat() as seat:
        await there.register("w1")
        await there.submit(spec("a"))
        await settle(conductor(seat))
        await there.advance(13.0)

        async with await connect(pg.app, "beats") as beats, beats.transaction(), asyncio.timeout(20):
            await beats.execute("UPDATE leases SET until = until + 15")
            await settle(conductor(seat))
        await settle(conductor(seat))

        assert await there.types("a") == ["submitted", "queued", "run-leased"]


async def test_a_lease_closed_by_a_report_in_the_same_moment_is_decided_by_whoever_appends_first(pg: Database) -> None:
    async with world(pg) as there, there.seat() as seat:
        await there.register("w1")
        await there.submit(spec("a"))
        await settle(conductor(seat))
        await there.start("a")
        await there.advance(20.0)

        async def report() -> None:
            await there.decide("a", Cancel("alice"))

        await settle(conductor(FusedSeat(seat, Fuse(intrude=report))))

        assert (await there.types("a"))[-4:] == ["cancelling", "lease-expired", "run-lost", "cancelled"]
        assert await there.leases() == {}


@dataclass(slots=True)
class Echo:
    """The queue of the beats with its handler: every probe comes back committed."""

    store: PgBeatStore
    sent: list[Outgoing] = field(default_factory=list[Outgoing])

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        probes = [one for one in messages if one.type == Probe.TYPE]
        self.sent += probes
        await self.store.record([Beat(None, Probe.model_validate_json(one.body).probe) for one in probes])


@asynccontextmanager
async def running(there: PgWorld, echo: Any) -> AsyncGenerator[None]:
    """The conductor's own loop, until the end of the block."""
    stop = asyncio.Event()
    async with there.seat() as seat:
        work = asyncio.create_task(conductor(seat, echo).run(stop))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(work, 10)


async def test_in_its_loop_it_leases_what_comes_and_its_clock_goes_on_while_probes_come_back(pg: Database) -> None:
    async with world(pg) as there, await connect(pg.app, "beats") as beats:
        echo = Echo(PgBeatStore(beats))
        async with running(there, echo):
            await there.register("w1")
            await there.submit(spec("a"))

            async def leased() -> bool:
                return isinstance(await there.task("a"), Leased)

            await eventually(leased, "the task is leased")
            await eventually(lambda: seconds(there, 1.0), "the lease clock advances")

        assert {(one.exchange, one.routing_key, one.type) for one in echo.sent} == {
            ("task.beats", "beat", "lease.probe.v1")
        }


async def seconds(there: PgWorld, least: float) -> bool:
    cursor = await there.connection.execute("SELECT seconds FROM lease_clock")
    row = await cursor.fetchone()
    return row is not None and row[0] >= least


QUEUED = """
INSERT INTO conductor_queue (task, lane, key, position)
SELECT gen_random_uuid(), CASE WHEN n <= 10000 THEN %s::uuid ELSE %s::uuid END, now(), n
FROM generate_series(1, 20000) AS n
"""


async def test_a_long_queue_is_not_read_whole_for_its_lanes_or_for_a_few_free_slots(pg: Database) -> None:
    lanes = [Lane("default", "default", "docker"), Lane("other", "default", "docker")]
    async with world(pg) as there:
        await there.register("w1", slots=8)
        async with there.seat() as seat:
            await settle(conductor(seat))
        with psycopg.connect(pg.owner, autocommit=True) as owner:
            owner.execute(QUEUED, [lane.id for lane in lanes])
            owner.execute("ANALYZE")
            cursor = psycopg.ClientCursor(owner)
            own = [lane.id for lane in lanes]
            plans = [
                cursor.execute(f"EXPLAIN {statement}".replace("%b", "%s").encode(), values).fetchall()
                for statement, values in ((LANES, ()), (CROWD, ()), (WAITING, (own, [8, 8])))
            ]

    for plan in plans:
        assert "Seq Scan on conductor_queue" not in str(plan), "\n".join(line for (line,) in plan)
