"""Processes start only on a database that they know, that keeps time with them, and where commits last."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from infra.database_checks import ClockSkew, OtherSchema, UnsafeDatabase, check, judge
from infra.migrate import versions
from infra.processes.serve import NAMES, READERS, WRITERS
from tests.support.database import Database

pytestmark = pytest.mark.integration
NOW = datetime(2026, 11, 21, tzinfo=UTC)


async def test_a_server_that_may_lose_commits_is_refused_by_name(pg: Database) -> None:
    with psycopg.connect(pg.owner, autocommit=True) as connection:
        row = connection.execute("SELECT current_database()").fetchone()
        assert row is not None
        connection.execute(f'ALTER DATABASE "{row[0]}" SET synchronous_commit = off'.encode())

    with pytest.raises(UnsafeDatabase) as caught:
        await check(pg.app)

    assert "synchronous_commit" in caught.value.off
    assert "database.allow_unsafe" in str(caught.value)


async def test_a_reader_does_not_ask_whether_commits_last(pg: Database) -> None:
    await check(pg.app, durable=False)


@pytest.mark.parametrize(
    ("change", "way_out"),
    [
        ("INSERT INTO schema_migrations VALUES ('29991231000000')", "update the program"),
        (f"DELETE FROM schema_migrations WHERE version = '{max(versions())}'", "tally db migrate"),
        ("DROP TABLE schema_migrations", "tally db migrate"),
    ],
)
async def test_a_schema_of_another_version_is_refused_with_the_way_out(pg: Database, change: str, way_out: str) -> None:
    with psycopg.connect(pg.owner, autocommit=True) as connection:
        connection.execute(change.encode())

    with pytest.raises(OtherSchema, match=way_out):
        await check(pg.app, durable=False)


@pytest.mark.parametrize("seconds", [-6, 6])
def test_a_host_whose_clock_is_off_is_refused_and_a_slow_answer_is_not(seconds: int) -> None:
    there = NOW + timedelta(seconds=seconds)
    judge(([], NOW, list(versions())), (NOW - timedelta(seconds=4), NOW + timedelta(seconds=60)), durable=True)
    with pytest.raises(ClockSkew, match="set the host's clock"):
        judge(([], NOW, list(versions())), (there, there), durable=True)


def test_those_who_append_are_writers_and_all_but_three_are_checked() -> None:
    assert {"handler", "conductor", "notifier", "all"} == WRITERS
    assert set(NAMES) - WRITERS - READERS == {"api", "issuer", "worker"}
