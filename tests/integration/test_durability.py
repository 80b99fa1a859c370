"""Processes that write the log start only where commits last."""

import psycopg
import pytest

from infra.durability import UnsafeDatabase, refuse_unsafe
from infra.processes.serve import NAMES, WRITERS
from tests.support.database import Database

pytestmark = pytest.mark.integration


async def test_a_server_that_may_lose_commits_is_refused_by_name(pg: Database) -> None:
    with psycopg.connect(pg.owner, autocommit=True) as connection:
        row = connection.execute("SELECT current_database()").fetchone()
        assert row is not None
        connection.execute(f'ALTER DATABASE "{row[0]}" SET synchronous_commit = off'.encode())

    with pytest.raises(UnsafeDatabase) as caught:
        await refuse_unsafe(pg.app)

    assert "synchronous_commit" in caught.value.off
    assert "database.allow_unsafe" in str(caught.value)


def test_those_who_append_are_writers() -> None:
    assert {"handler", "conductor", "notifier", "all"} == WRITERS
    assert set(NAMES) >= WRITERS
