"""`tally serve relay`: the log to `task.events`."""

import asyncio

from adapters import broker
from adapters.seat import BEHIND, PgSeat, RepeatablePgTurn
from consumers.following import follow
from consumers.relay import Relay
from domain.ports.tracing import Traces
from infra.settings import Settings


async def main(settings: Settings, traces: Traces) -> None:
    """One loop, one seat."""
    async with (
        broker.connect(settings.amqp.url.get_secret_value(), "relay") as amqp,
        PgSeat(settings.database.dsn(), "relay", RepeatablePgTurn, gather=BEHIND) as seat,
    ):
        await follow(seat, Relay(seat, amqp.publisher()).step, asyncio.Event())
