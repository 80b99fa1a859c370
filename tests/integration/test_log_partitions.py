"""The log's partitions: a month each, whatever zone the server keeps, and never at the cost of those who write."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.event_log import append_events, connect
from tests.support import histories
from tests.support.database import Database

pytestmark = pytest.mark.integration
YEAR, MONTHS = 2091, 16
MAKE = "SELECT make_event_partitions(2, %s)"
PATIENCE = 20


def month(number: int) -> datetime:
    """Where a month begins, counted from the first one that is looked at."""
    return datetime(YEAR + number // 12, number % 12 + 1, 1, tzinfo=UTC)


def least_id(moment: datetime) -> UUID:
    """The least UUIDv7 of a moment, without its version."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


@pytest.mark.parametrize(
    "zone", ["UTC", "America/Los_Angeles", "America/Sao_Paulo", "Europe/Berlin", "Asia/Kolkata", "Australia/Sydney"]
)
def test_each_month_has_one_partition_from_its_first_moment_to_its_last_in_utc(pg: Database, zone: str) -> None:
    edges = (timedelta(0), timedelta(minutes=30), timedelta(days=15), timedelta(days=27, hours=23, minutes=59))
    with psycopg.connect(pg.app, autocommit=True, options=f"-c timezone={zone}") as conductor:
        for number in range(MONTHS - 2):
            for edge in (*edges, month(number + 1) - month(number) - timedelta(minutes=1)):
                conductor.execute(MAKE, (month(number) + edge,))

        bounds = conductor.execute(
            "SELECT relname, pg_get_expr(relpartbound, oid) FROM pg_class "
            "WHERE relispartition AND relkind = 'r' AND relname BETWEEN %s AND 'events_3' ORDER BY relname",
            (f"events_{YEAR}_01",),
        ).fetchall()

    assert bounds == [
        (
            f"events_{month(number):%Y_%m}",
            f"FOR VALUES FROM ('{least_id(month(number))}') TO ('{least_id(month(number + 1))}')",
        )
        for number in range(MONTHS)
    ]


def test_a_month_that_overlaps_a_partition_made_wrong_stays_with_the_default_one(pg: Database) -> None:
    with psycopg.connect(pg.owner, autocommit=True) as owner:
        owner.execute(
            f"CREATE TABLE wrong PARTITION OF events FOR VALUES FROM ('{least_id(month(1) - timedelta(hours=8))}') "
            f"TO ('{least_id(month(2) - timedelta(hours=8))}')".encode()
        )
    with psycopg.connect(pg.app, autocommit=True) as conductor:
        said: list[str | None] = []
        conductor.add_notice_handler(lambda diagnostic: said.append(diagnostic.message_primary))

        made = conductor.execute(MAKE, (month(0),)).fetchone()
        later = conductor.execute(MAKE, (month(2),)).fetchone()

    overlapping = [f"events_{YEAR}_0{number}" for number in (1, 2)]
    assert (made, later) == ((1,), (2,))
    assert [text.partition(":")[0] for text in said if text] == [f"no partition {name}" for name in overlapping]


async def test_while_somebody_reads_the_log_no_partition_is_made_and_nobody_is_held_up(pg: Database) -> None:
    with psycopg.connect(pg.read) as reader, psycopg.connect(pg.app, autocommit=True) as conductor:
        reader.execute("SELECT count(*) FROM events")
        said: list[str | None] = []
        conductor.add_notice_handler(lambda diagnostic: said.append(diagnostic.sqlstate))
        making = asyncio.create_task(asyncio.to_thread(conductor.execute, MAKE, (month(0),)))
        try:
            async with asyncio.timeout(PATIENCE), await connect(pg.app, "handler") as handler:
                given_up = (await making).fetchone()
                async with handler.transaction():
                    await append_events(handler, histories.whole(uuid7()))
        finally:
            reader.rollback()
        made = (await asyncio.to_thread(conductor.execute, MAKE, (month(0),))).fetchone()

    assert (given_up, said, made) == ((0,), ["01000"], (3,))
