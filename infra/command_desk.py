"""Commands from HTTP to RabbitMQ: read by the handler's own rules, so that it can judge all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import unquote, urlsplit
from uuid import UUID

from adapters.reading import Reader
from consumers.envelopes import Attributes, open_envelope
from consumers.reading import decode
from consumers.strict_json import strict_object
from domain.commands import COMMANDS
from domain.letters import Letter
from domain.messages import Message, routing_key
from domain.ports.broker import Outgoing, Publisher
from domain.ports.commanding import PostedCommand
from infra.topology import COMMANDS as EXCHANGE

_DIGEST = "SELECT digest FROM inbox WHERE command_id = %s AND principal = %s"
_UNSENT = UUID(int=0)


@dataclass(frozen=True, slots=True)
class AmqpCommandDesk:
    """Publishes as the broker user `user`, who must be one of `commands.trusted_publishers`."""

    publisher: Publisher
    reader: Reader
    user: str

    def open(self, body: bytes) -> tuple[Mapping[str, object], bytes]:
        attributes: Attributes = {}
        data = open_envelope(body, attributes)
        return {name: values[-1] for name, values in attributes.items()}, data

    def read(self, type: str, data: bytes) -> Message:
        strict_object(data)
        return decode(Letter(_UNSENT, type, data, "", "", ""), COMMANDS)

    async def publish(self, command: PostedCommand) -> None:
        await self.publisher.publish(
            [
                Outgoing(
                    EXCHANGE,
                    routing_key(command.type, command.namespace),
                    command.type,
                    command.id,
                    command.data,
                    headers=_headers(command),
                    correlation_id=command.cause.correlation_id,
                    user=self.user,
                )
            ]
        )

    async def used_for_another(self, command: PostedCommand) -> bool:
        rows = await self.reader.rows(_DIGEST, command.id, command.cause.actor)
        return bool(rows) and bytes(rows[0][0]) != sha256(command.data).digest()


def _headers(command: PostedCommand) -> Mapping[str, str | int | bool]:
    headers: dict[str, str | int | bool] = {"ce-source": "/clients/http", "ce-authid": command.cause.actor}
    if command.cause.traceparent:
        headers["traceparent"] = command.cause.traceparent
    if command.cause.tracestate:
        headers["tracestate"] = command.cause.tracestate
    return headers


def user_of(amqp_url: str) -> str:
    """The broker user in an AMQP address; `guest` if it names none."""
    return unquote(urlsplit(amqp_url).username or "guest")
