"""Commands over RabbitMQ: confirmed by the broker, answered on the broker's own reply queue."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import AMQPException, DeliveryError
from aiormq.exceptions import ChannelAccessRefused

from domain.commands import Command
from domain.errors import NotAllowed, Refused, Unavailable, Unroutable
from domain.messages import Cause, routing_key
from domain.work import Reply

EXCHANGE = "task.commands"
REPLIES = "amq.rabbitmq.reply-to"
CONNECT_SECONDS, CONFIRM_SECONDS, ANSWER_SECONDS = 5.0, 10.0, 30.0


@dataclass(slots=True)
class AmqpSending:
    """A connection that is opened by the first command, and again after a loss. `app` names this program."""

    url: str
    app: str = "tally"
    _connection: AbstractConnection | None = None
    _channel: AbstractChannel | None = None
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _waiting: dict[str, asyncio.Future[Reply]] = field(default_factory=dict[str, "asyncio.Future[Reply]"])

    async def send(self, command: Command, command_id: UUID, cause: Cause, answer: bool) -> Reply | None:
        """Publish and wait for the confirm; with `answer` also for the platform's reply, 30 s at most."""
        message = self._message(command, command_id, cause, answer)
        key = routing_key(command.TYPE, command.namespace)
        awaited = self._waiting[str(command_id)] = asyncio.get_running_loop().create_future()
        try:
            exchange = await (await self._open()).get_exchange(EXCHANGE, ensure=False)
            await exchange.publish(message, key, mandatory=True, timeout=CONFIRM_SECONDS)
            return await asyncio.wait_for(awaited, ANSWER_SECONDS) if answer else None
        except DeliveryError as error:
            raise Unroutable(EXCHANGE, key) from error
        except ChannelAccessRefused as error:
            raise Refused(NotAllowed(f"broker: {error}").problem()) from error
        except TimeoutError as error:
            raise Unavailable(f"no answer to command {command_id} in time; it may still be done") from error
        except (AMQPException, OSError) as error:
            where = urlsplit(self.url)
            raise Unavailable(f"broker {where.hostname}:{where.port or 5672} is not reached: {error}") from error
        finally:
            del self._waiting[str(command_id)]

    async def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            await self._connection.close()

    async def _open(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                if self._connection is None or self._connection.is_closed:
                    self._connection = await aio_pika.connect(self.url, timeout=CONNECT_SECONDS)
                self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                replies = await self._channel.get_queue(REPLIES, ensure=False)
                await replies.consume(self._answered, no_ack=True)
            return self._channel

    async def _answered(self, message: AbstractIncomingMessage) -> None:
        awaited = self._waiting.get(message.correlation_id or "")
        if awaited is not None and not awaited.done():
            awaited.set_result(Reply.model_validate_json(message.body))

    def _message(self, command: Command, command_id: UUID, cause: Cause, answer: bool) -> aio_pika.Message:
        trace = {"traceparent": cause.traceparent, "tracestate": cause.tracestate}
        return aio_pika.Message(
            command.body(),
            headers={name: value for name, value in trace.items() if value is not None},
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            correlation_id=str(command_id),
            message_id=str(command_id),
            reply_to=REPLIES if answer else None,
            timestamp=datetime.now(UTC),
            type=command.TYPE,
            user_id=unquote(urlsplit(self.url).username or "guest"),
            app_id=self.app,
        )
