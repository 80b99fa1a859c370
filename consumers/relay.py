"""The log, event by event and in its order, to `task.events`: each confirmed before the position moves on.

A repeat after a failure is harmless: subscribers know an event by its id, and by its stream and version.
"""

from dataclasses import dataclass
from datetime import UTC

from domain.ports.broker import Outgoing, Publisher
from domain.ports.log import Page, Seat, Turn
from domain.recorded import Recorded

EXCHANGE = "task.events"
SYSTEM = frozenset({"conductor", "messenger", "notifier", "projector", "relay", "handler"})


@dataclass(frozen=True, slots=True)
class Relay:
    """Follows the log as the consumer `relay`."""

    seat: Seat[Turn]
    publisher: Publisher

    async def step(self, page: Page) -> bool:
        """Send a page, then note that it was sent. True: there may be more. Raises Unavailable with nothing noted."""
        if not page.events:
            return False
        await self.publisher.publish([event_message(event) for event in page.events])
        async with self.seat.turn() as turn:
            await turn.move_to(page.up_to)
        return True


def event_message(event: Recorded) -> Outgoing:
    """The event for subscribers: a CloudEvent in binary mode whose body is the stored one, byte for byte."""
    noun, name, _ = event.type.split(".", 2)
    cause, namespace = event.cause, event.namespace or "_"
    headers: dict[str, str | int | bool] = {
        "ce-source": f"/namespaces/{namespace}/{noun}s",
        "ce-subject": str(event.stream),
        "ce-time": event.recorded_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "ce-dataschema": f"/v1/schemas/{event.type}",
        "ce-position": str(event.position),
        "ce-version": str(event.version),
        "ce-correlationid": cause.correlation_id,
        "ce-causationid": cause.causation_id,
        "ce-authtype": auth_type(cause.actor),
        "ce-authid": cause.actor,
    }
    if cause.traceparent is not None:
        headers["traceparent"] = cause.traceparent
        if cause.tracestate is not None:
            headers["tracestate"] = cause.tracestate
    return Outgoing(
        exchange=EXCHANGE,
        routing_key=f"{noun}.{name}.{namespace}",
        type=event.type,
        id=event.event_id,
        body=event.body,
        headers=headers,
        correlation_id=cause.correlation_id,
        mandatory=False,  # no subscriber is no error
        at=event.recorded_at,
    )


def auth_type(actor: str) -> str:
    """Who `actor` is, in the words of CloudEvents' auth context."""
    if actor in SYSTEM:
        return "system"
    if actor.startswith("worker:"):
        return "service_account"
    return "unauthenticated" if actor == "anonymous" else "user"
