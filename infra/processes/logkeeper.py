"""`tally serve logkeeper`: what runs print, from RabbitMQ into files."""

from uuid_utils.compat import uuid7

from adapters import broker
from adapters.event_log import connect
from adapters.handler_store import PgHandlerStore
from adapters.log_storage import LogFiles
from consumers.logkeeper import LogKeeper
from domain.ports.tracing import Traces
from infra.settings import Settings
from infra.topology import LOGS_QUEUE


async def main(settings: Settings, traces: Traces) -> None:
    """One queue, shared with any other log keeper over the same folder."""
    async with (
        broker.connect(settings.amqp.url.get_secret_value(), "logkeeper") as amqp,
        await connect(settings.database.dsn(), "logkeeper") as connection,
    ):
        chunks = amqp.subscription(broker.Intake(LOGS_QUEUE, settings.amqp.prefetch))
        storage = LogFiles(settings.logs.folder, connection)
        await LogKeeper(chunks, storage, PgHandlerStore(connection), uuid7).run()
