"""`tally serve projector`: events into views."""

import asyncio

from adapters.seat import BEHIND, PgSeat
from adapters.views import ProjectorPgTurn
from consumers.following import follow
from consumers.projector import NAME, PAGE, Project
from domain.ports.tracing import Traces
from infra.settings import Settings


async def main(settings: Settings, traces: Traces) -> None:
    """One loop, one seat."""
    async with PgSeat(settings.database.dsn(), NAME, ProjectorPgTurn, gather=BEHIND) as seat:
        await follow(seat, Project(seat), asyncio.Event(), limit=PAGE)
