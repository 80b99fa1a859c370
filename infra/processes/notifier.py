"""`tally serve notifier`: how tasks ended, to the channels that they name."""

import asyncio
import random

import httpx2

from adapters.clock import SystemClock
from adapters.ledger import NotifierPgTurn
from adapters.seat import BEHIND, PgSeat
from adapters.webhooks import WebhookChannel, can_sign, http_client
from consumers.notifier import Notifier
from domain.ports.tracing import Traces
from infra.setting_groups import Channel, MissingSetting
from infra.settings import Settings


async def main(settings: Settings, traces: Traces) -> None:
    """One loop, one seat; without channels it still shows that a task named one that nobody set up."""
    configured = settings.notify.channels
    rules = {name: frozenset(channel.on) for name, channel in configured.items()}
    async with (
        http_client() as client,
        PgSeat(settings.database.dsn(), "notifier", NotifierPgTurn, gather=BEHIND) as seat,
    ):
        channels = {
            name: webhook(name, channel, client, settings.notify.allow_private) for name, channel in configured.items()
        }
        await Notifier(seat, channels, rules, traces, random.random).run(asyncio.Event())


def webhook(name: str, channel: Channel, client: httpx2.AsyncClient, allow_private: bool) -> WebhookChannel:
    """The channel `notify.<name>`. Raises MissingSetting: a webhook is never sent unsigned."""
    if channel.secret is None:
        raise MissingSetting(
            f"notify.{name}.secret is not set: give TALLY_NOTIFY__{name.upper()}__SECRET, whsec_ and 24 or more "
            "random bytes in base64"
        )
    if not can_sign(channel.secret.get_secret_value()):
        raise MissingSetting(f"notify.{name}.secret cannot sign: it must be whsec_ and base64")
    url, secret = channel.url.get_secret_value(), channel.secret.get_secret_value()
    return WebhookChannel(url, secret, client, SystemClock(), allow_private)
