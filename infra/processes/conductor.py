"""`tally serve conductor`: the saga, the dispatcher and the timekeeper, on one position."""

import asyncio

from uuid_utils.compat import uuid7

from adapters import broker
from adapters.conductor_store import ConductorPgTurn
from adapters.seat import PgSeat
from consumers.conductor import Conductor
from consumers.offering import Offers
from consumers.timekeeper import Probes
from domain.ports.tracing import Traces
from infra.settings import Settings


async def main(settings: Settings, traces: Traces) -> None:
    """One loop, one seat; probes and offers go out beside it."""
    async with (
        broker.connect(settings.amqp.url.get_secret_value(), "conductor") as amqp,
        PgSeat(settings.database.dsn(), "conductor", ConductorPgTurn) as seat,
    ):
        probes = Probes(amqp.publisher(), uuid7)
        offers = Offers(amqp.publisher(), traces, uuid7)
        await Conductor(seat, traces, probes, offers, settings.images.base).run(asyncio.Event())
