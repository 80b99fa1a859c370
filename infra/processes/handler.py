"""`tally serve handler`: commands, reports and beats from RabbitMQ into the log."""

from asyncio import Lock
from contextlib import AsyncExitStack
from functools import cache, partial

from uuid_utils.compat import uuid7

from adapters import broker
from adapters.beat_store import PgBeatStore
from adapters.clock import SystemClock
from adapters.event_log import BY_INDEXES, connect
from adapters.handler_store import PgHandlerStore
from consumers.batches import Given
from consumers.beats import Beats
from consumers.dead_queue import ExpiredItems, ReadExpired
from consumers.handler import Handler
from consumers.intake import Intake
from consumers.items import CommandItems, ReportItems
from consumers.reading import decode, read
from domain.ports.broker import Subscription
from domain.ports.tracing import Traces
from domain.principals import Senders
from infra.processes.process import together
from infra.settings import Settings
from infra.topology import BEATS_QUEUE, COMMANDS_QUEUE, DEAD_QUEUE, REPORTS_QUEUE


async def main(settings: Settings, traces: Traces) -> None:
    """Four queues side by side, each with a database connection of its own, so that none waits for another."""
    dsn, clock = settings.database.dsn(), SystemClock()
    async with AsyncExitStack() as stack:
        amqp = await stack.enter_async_context(broker.connect(settings.amqp.url.get_secret_value(), "handler"))
        commands, reports, beats, heartbeats, dead = [
            await stack.enter_async_context(await connect(dsn, f"handler {part}", BY_INDEXES))
            for part in ("commands", "reports", "beats", "heartbeats", "dead")
        ]
        store = PgHandlerStore(commands)
        given = Given(uuid7, settings.images.base, await store.installation())
        handler = partial(Handler, publisher=amqp.publisher(), traces=traces, clock=clock, given=given)
        command_items = CommandItems(senders(settings), decode)
        handle_commands = handler(
            queue=COMMANDS_QUEUE,
            store=store,
            read=read,
            items=command_items,
        )
        handle_reports = handler(
            queue=REPORTS_QUEUE,
            store=PgHandlerStore(reports),
            read=read,
            items=ReportItems(decode),
        )
        handle_dead = handler(
            queue=DEAD_QUEUE,
            store=PgHandlerStore(dead),
            read=ReadExpired(COMMANDS_QUEUE, read),
            items=ExpiredItems(COMMANDS_QUEUE, command_items),
        )
        beat_store = PgHandlerStore(beats)
        handle_beats = Beats(BEATS_QUEUE, PgBeatStore(heartbeats), beat_store, uuid7, read, decode)

        def taking(queue: str) -> Subscription:
            return amqp.subscription(broker.Intake(queue, settings.amqp.prefetch))

        intake = partial(Intake, clock=clock, trial=Lock(), forgiven=forgiven())
        await together(
            intake(taking(COMMANDS_QUEUE), handle_commands, store).run(),
            intake(taking(REPORTS_QUEUE), handle_reports, handle_reports.store).run(),
            intake(taking(BEATS_QUEUE), handle_beats, beat_store).run(),
            intake(taking(DEAD_QUEUE), handle_dead, handle_dead.store).run(),
        )


@cache
def forgiven() -> dict[str, None]:
    """Messages of this process that an outage gave back: not counted as deadly when they return."""
    return {}


def senders(settings: Settings) -> Senders:
    """Whom the handler believes, and for which namespaces."""
    commands = settings.commands
    return Senders(
        {user: frozenset(namespaces) for user, namespaces in commands.principals.items()},
        frozenset(commands.trusted_publishers),
        commands.identity == "required",
    )
