"""A PostgreSQL that dies at once: followers that do not wait for their commits lose turns and positions together."""

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.event_log import COLUMNS, append_events, connect, recorded
from adapters.pipeline import Pipeline
from adapters.seat import PgSeat, RepeatablePgTurn
from adapters.views import PgViewRows, ProjectorPgTurn
from consumers.projector import Project
from consumers.relay import Relay
from domain.ports.broker import Outgoing
from domain.recorded import Recorded
from domain.views import VIEWS, Rows, by_row, facts
from infra.dev import postgres
from tests.support.conducting import Silence
from tests.support.database import in_database, template
from tests.support.histories import folded, whole

pytestmark = pytest.mark.integration
FEW = 7
"""Events of a page: a turn ends within histories."""


async def submit(dsn: str, tasks: int) -> None:
    async with await connect(dsn, "test") as connection, connection.transaction():
        for _ in range(tasks):
            await append_events(connection, whole(uuid7()))


async def shown(dsn: str) -> tuple[list[Recorded], dict[str, Rows], dict[str, int]]:
    """The log, the rows of all that is in it, and how far each follower is."""
    async with await connect(dsn, "test") as connection:
        async with connection.cursor(binary=True) as binary:
            await binary.execute(f"SELECT {COLUMNS} FROM events ORDER BY notification_id".encode())
            log = [recorded(row) for row in await binary.fetchall()]
        cursor = await connection.execute("SELECT name, position FROM consumers")
        followers = {str(name): int(position) for name, position in await cursor.fetchall()}
        said = facts(log)
        async with Pipeline(connection).transaction() as pipeline:
            rows = await PgViewRows(pipeline).rows({view: list(by_row(VIEWS[view], said)) for view in VIEWS})
        return log, rows, followers


async def follow(dsn: str, published: Silence, to: int, then: int | None = None) -> None:
    """The projector and the relay, up to a position; `then`, the server that they follow on, is killed at once."""
    with suppress(psycopg.OperationalError):
        async with (
            PgSeat(dsn, "projector", ProjectorPgTurn) as projector,
            PgSeat(dsn, "relay", RepeatablePgTurn) as relay,
        ):
            while min(projector.position, relay.position) < to:
                await Project(projector)(await projector.page(FEW))
                await Relay(relay, published).step(await relay.page(FEW))
            if then is not None:
                os.kill(then, signal.SIGKILL)


def positions(messages: Sequence[Outgoing]) -> dict[int, object]:
    """The event that was sent of each position."""
    return {int(str(message.headers["ce-position"])): message.id for message in messages}


async def test_what_a_dead_server_forgets_is_done_again(tmp_path: Path) -> None:
    with ExitStack() as started, ExitStack() as contexts:
        first = started.enter_context(postgres.start(tmp_path / "postgres"))
        name = contexts.enter_context(template(first.dsn))
        dsn, published = in_database(first.dsn, name, "tally_app"), Silence()
        await submit(dsn, tasks=20)
        await follow(dsn, published, quarter := 50)
        await submit(dsn, tasks=20)  # its commit is waited for, and takes those before it to the disk
        log, _, _ = await shown(dsn)
        half = log[len(log) // 2].position

        await follow(dsn, published, half, then=first.pid)
        first.stop()
        started.enter_context(postgres.start(tmp_path / "postgres", first.port))
        kept, rows, followers = await shown(dsn)
        sent = positions(published.sent)
        await follow(dsn, published, log[-1].position)
        _, whole_rows, _ = await shown(dsn)

    assert kept == log
    assert quarter <= min(followers.values())
    projected = [event for event in log if event.position <= followers["projector"]]
    assert rows == {view: folded(view, projected) for view in VIEWS}
    assert followers["relay"] <= max(sent)
    assert positions(published.sent) == {event.position: event.event_id for event in log}
    assert whole_rows == {view: folded(view, log) for view in VIEWS}
