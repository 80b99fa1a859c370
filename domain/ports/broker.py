"""The message broker: what is sent with a confirm, what arrives in batches, and when it may be forgotten."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send. `exchange` "" and a queue's name as `routing_key` reach that queue directly.

    `id` and `type` become message_id/ce-id and type/ce-type. `headers` are sent as they are (str, int, bool or bytes).
    `mandatory`: a message that no queue takes is an error; else it is dropped in silence. `expires_after` None: never.
    `user`: the broker user this process is connected as, for the broker to vouch for; any other is refused.
    """

    exchange: str
    routing_key: str
    type: str
    id: UUID
    body: bytes
    headers: Mapping[str, str | int | bool] = field(default_factory=dict[str, str | int | bool])
    correlation_id: str | None = None
    reply_to: str | None = None
    content_type: str = "application/json"
    persistent: bool = True
    mandatory: bool = True
    expires_after: timedelta | None = None
    at: datetime | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it arrived: nothing in it has been checked.

    `tag` orders the deliveries of one subscription. `user` is the broker-validated sender, None if it gave none.
    """

    tag: int
    queue: str
    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, object] = field(default_factory=dict[str, object])
    content_type: str | None = None
    content_encoding: str | None = None
    message_id: str | None = None
    type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    user: str | None = None
    redelivered: bool = False


class Publisher(Protocol):
    """Sends messages and waits for the broker's word on each."""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Return when every message is confirmed. Messages are sent in order; after an error some may have arrived.

        Raises Unroutable naming the first mandatory message that no queue takes, Unavailable if a confirm is not
        there within 10 s or the connection is lost: then send the same messages, with the same ids, again. Raises
        Nacked naming the messages that a full queue refuses; all others have then been confirmed.
        """
        ...


class Subscription(Protocol):
    """One queue, consumed with manual acks and a bounded number of messages in flight."""

    async def batch(self, limit: int) -> Sequence[Delivery]:
        """Wait for a message, then return it with all others already here, at most `limit`, in order of arrival."""
        ...

    async def ack(self, last: Delivery) -> None:
        """Settle `last` and all before it. Messages not settled when the connection ends are delivered again."""
        ...

    async def settle(self, one: Delivery) -> None:
        """Settle `one` alone; those before it stay as they are."""
        ...

    async def pause(self) -> None:
        """Stop deliveries and give back what is not settled; `batch` resumes them."""
        ...
