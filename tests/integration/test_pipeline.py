"""Statements in a pipeline: what is asked for comes, an error stops what is behind it, nothing is left half way."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest

from adapters.event_log import connect
from adapters.pipeline import Pipeline
from tests.support.database import Database

pytestmark = pytest.mark.integration
ID = UUID(int=7)
INSERT: LiteralString = "INSERT INTO t VALUES (%b)"


async def whole(pipeline: Pipeline, *statements: tuple[LiteralString, tuple[object, ...]]) -> None:
    """All in one transaction."""
    async with pipeline.transaction():
        for statement, values in statements:
            pipeline.send(statement, values)


async def test_answers_come_to_those_who_ask_in_any_order(pg: Database) -> None:
    async with await connect(pg.app, "test") as connection, Pipeline(connection) as pipeline:
        first = pipeline.send("SELECT %b::int", (1,))
        second = pipeline.send("SELECT n FROM unnest(%b::int[]) AS n", ([2, 3],))

        assert await pipeline.fetch(second) == [(2,), (3,)]
        assert await pipeline.fetch(first) == [(1,)]


async def test_values_come_back_as_they_went(pg: Database) -> None:
    values = ("text", 2**40, 1.5, True, None, ID, datetime(2026, 11, 22, 1, 2, 3, 4, tzinfo=UTC), b"\x00\xff")
    asked = "SELECT %b::text, %b::bigint, %b::float8, %b::bool, %b::text, %b::uuid, %b::timestamptz, %b::bytea"
    async with await connect(pg.app, "test") as connection, Pipeline(connection) as pipeline:
        assert await pipeline.rows(asked, values) == [values]
        assert await pipeline.rows("SELECT %b::uuid[], %b::text[]", ([], [None, "a"])) == [([], [None, "a"])]


async def test_a_statement_is_prepared_once_for_each_kind_of_values(pg: Database) -> None:
    async with await connect(pg.app, "test") as connection:
        pipeline = Pipeline(connection)
        for value in (1, 2, 2**40):
            async with pipeline:
                await pipeline.rows("SELECT %b::bigint", (value,))
        async with pipeline:
            await pipeline.rows("SELECT %b::bigint + 1", (1,), prepare=False)

        found = await (await connection.execute("SELECT count(*) FROM pg_prepared_statements")).fetchone()
    assert found == (2,)


async def test_an_error_stops_what_is_behind_it_and_takes_back_the_transaction(pg: Database) -> None:
    async with await connect(pg.app, "test") as connection:
        await connection.execute("CREATE TEMPORARY TABLE t (n int)")
        pipeline = Pipeline(connection)

        with pytest.raises(psycopg.errors.DivisionByZero):
            await whole(pipeline, (INSERT, (1,)), ("SELECT 1 / %b::int", (0,)), (INSERT, (2,)))

        await whole(pipeline, (INSERT, (3,)))
        async with pipeline:
            assert await pipeline.rows("SELECT n FROM t") == [(3,)]


async def test_a_statement_that_could_not_be_prepared_is_prepared_the_next_time(pg: Database) -> None:
    async with await connect(pg.app, "test") as connection:
        pipeline = Pipeline(connection)
        with pytest.raises(psycopg.errors.UndefinedTable):
            await whole(pipeline, ("SELECT * FROM later", ()))
        with pytest.raises(psycopg.errors.DivisionByZero):
            await whole(pipeline, ("SELECT 1 / %b::int", (0,)), ("SELECT 5", ()))
        await connection.execute("CREATE TEMPORARY TABLE later AS SELECT 4")

        async with pipeline:
            assert await pipeline.rows("SELECT * FROM later") == [(4,)]
            assert await pipeline.rows("SELECT 5") == [(5,)]


async def test_an_error_of_the_body_takes_back_the_transaction(pg: Database) -> None:
    async with await connect(pg.app, "test") as connection:
        await connection.execute("CREATE TEMPORARY TABLE t (n int)")
        pipeline = Pipeline(connection)

        with suppress(LookupError):
            async with pipeline.transaction():
                pipeline.send(INSERT, (1,))
                raise LookupError

        async with pipeline:
            assert await pipeline.rows("SELECT n FROM t") == []


async def test_much_goes_out_while_much_comes_in(pg: Database) -> None:
    large = b"x" * 3_000_000
    async with await connect(pg.app, "test") as connection, Pipeline(connection) as pipeline, asyncio.timeout(60):
        answers = [pipeline.send("SELECT %b::bytea", (large,)) for _ in range(10)]

        assert [await pipeline.fetch(answer) for answer in answers] == [[(large,)]] * 10


async def test_two_that_use_one_pipeline_wait_for_each_other(pg: Database) -> None:
    async with await connect(pg.app, "test") as connection:
        pipeline = Pipeline(connection)

        async def ask(number: int) -> object:
            async with pipeline:
                return await pipeline.rows("SELECT pg_sleep(0.01), %b::int", (number,))

        assert await asyncio.gather(*map(ask, range(5))) == [[(b"", n)] for n in range(5)]


async def test_a_lost_connection_is_an_outage(pg: Database) -> None:
    async with await connect(pg.app, "test") as connection, await connect(pg.owner, "killer") as killer:
        pipeline = Pipeline(connection)

        await whole(pipeline, ("SELECT 1", ()))
        await killer.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))

        for _ in range(2):
            with pytest.raises(psycopg.OperationalError):
                await whole(pipeline, ("SELECT 1", ()))
        assert connection.closed


async def test_a_wait_that_is_cancelled_ends_the_connection(pg: Database) -> None:
    async with await connect(pg.app, "test") as connection:
        pipeline = Pipeline(connection)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), pipeline.transaction():
                await pipeline.rows("SELECT pg_sleep(30)")

        assert connection.closed
        async with asyncio.timeout(10):
            for _ in range(2):
                with pytest.raises(psycopg.OperationalError):
                    await whole(pipeline, ("SELECT 1", ()))


async def test_a_commit_that_fails_is_told_as_what_it_is_and_leaves_the_connection_in_order(pg: Database) -> None:
    async with await connect(pg.app, "test") as connection:
        await connection.execute("CREATE TEMPORARY TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        pipeline = Pipeline(connection)

        with pytest.raises(psycopg.errors.UniqueViolation):
            async with pipeline:
                pipeline.send("INSERT INTO t VALUES (1), (1)")

        for number in range(3):
            async with pipeline:
                assert await pipeline.rows("SELECT %b::int", (number,)) == [(number,)]


async def test_who_waits_for_a_transaction_that_fails_begins_when_it_was_rolled_back(pg: Database) -> None:
    async with await connect(pg.app, "test") as connection:
        pipeline = Pipeline(connection)

        async def ask(number: int) -> object:
            async with pipeline:
                return await pipeline.rows("SELECT %b::int", (number,))

        refused, *answers = await asyncio.gather(
            whole(pipeline, ("SELECT 1 / %b::int", (0,))), *map(ask, range(3)), return_exceptions=True
        )

    assert isinstance(refused, psycopg.errors.DivisionByZero)
    assert answers == [[(n,)] for n in range(3)]
