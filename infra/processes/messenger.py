"""`tally serve messenger`: offers, stops and syncs to workers."""

import asyncio

from uuid_utils.compat import uuid7

from adapters import broker
from adapters.messenger_store import MessengerPgTurn
from adapters.seat import PgSeat
from consumers.following import follow
from consumers.messenger import TYPES, Messenger
from domain.ports.tracing import Traces
from infra.settings import Settings


async def main(settings: Settings, traces: Traces) -> None:
    """One loop, one seat, woken by the log and by beats."""
    async with (
        broker.connect(settings.amqp.url.get_secret_value(), "messenger") as amqp,
        PgSeat(settings.database.dsn(), "messenger", MessengerPgTurn, ("tally_log", "tally_beats")) as seat,
    ):
        messenger = Messenger(seat, amqp.publisher(), traces, uuid7)
        await follow(seat, messenger.step, asyncio.Event(), TYPES)
