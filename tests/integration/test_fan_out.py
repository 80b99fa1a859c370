"""One end frees thousands, on plans that were made when there were few."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import make_conninfo

from adapters.conductor_store import ConductorPgTurn
from adapters.seat import PgSeat
from domain.ports.conducting import Edge, Need, Notes
from tests.support.database import Database

pytestmark = pytest.mark.integration
MANY = 10_000
UPSTREAM = UUID(int=1)
DOWNSTREAM = [UUID(int=1000 + number) for number in range(MANY)]


@pytest_asyncio.fixture
async def seat(pg: Database) -> AsyncIterator[PgSeat[ConductorPgTurn]]:
    """The conductor's place; no statement may take longer than 5 s."""
    with psycopg.connect(pg.owner, autocommit=True) as owner:
        owner.execute("ANALYZE conductor_needs, conductor_edges, conductor_settled, conductor_members")
    options = "-c statement_timeout=5s -c plan_cache_mode=force_generic_plan"
    dsn = make_conninfo(pg.app, options=options)
    async with PgSeat(dsn, "conductor", ConductorPgTurn) as seat:
        await wait_for([UUID(int=10)], seat)
        async with seat.turn() as turn:
            await turn.note(Notes(ended={UPSTREAM: "succeeded", UUID(int=10): "succeeded"}))
        yield seat


async def wait_for(tasks: Sequence[UUID], seat: PgSeat[ConductorPgTurn]) -> None:
    """Each of these tasks needs UPSTREAM, twice."""
    needs = [Need(task, number, 1, 1) for task in tasks for number in (0, 1)]
    edges = [Edge(task, number, UPSTREAM, "up", ("succeeded",)) for task in tasks for number in (0, 1)]
    async with seat.turn() as turn:
        await turn.note(Notes(needs=needs, edges=edges))


@pytest.mark.parametrize("end", ["succeeded", "failed"])
async def test_an_end_that_ten_thousand_wait_for_is_noted_in_moments(seat: PgSeat[ConductorPgTurn], end: str) -> None:
    await wait_for(DOWNSTREAM, seat)

    async with seat.turn() as turn:
        await turn.note(Notes(ended={UPSTREAM: end}))
        survey = await turn.survey(MANY, 1)

    assert len(survey.agenda.settled) == MANY
    assert {one.cause for one in survey.agenda.settled} == {UPSTREAM}
