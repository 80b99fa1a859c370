"""The log, event by event and in its order, to `task.events`: each confirmed before the position moves on.

A repeat after a failure is harmless: subscribers know an event by its id, and by its stream and version. A subscriber
whose queue is full and refuses holds up nobody: it goes without what it refused (docs/decisions/0009).
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from uuid import UUID

from consumers import following
from domain.errors import Nacked
from domain.ports.broker import Outgoing, Publisher
from domain.ports.log import Page, Seat, Turn
from domain.principals import OWN
from domain.recorded import Recorded

log = logging.getLogger(__name__)

EXCHANGE = "task.events"
PAUSES = (0.1, 0.4, 0.0)
"""Seconds after each refusal of a page: a queue that is full for a moment loses nothing."""


@dataclass(slots=True)
class Relay:
    """Follows the log as the consumer `relay`.

    `pauses`: how often a page is tried as a whole, and how long to wait after each refusal, in seconds. `one_by_one`:
    somebody's queue refuses. `passed_over`: how many events it has refused since the relay began.
    """

    seat: Seat[Turn]
    publisher: Publisher
    pauses: Sequence[float] = PAUSES
    one_by_one: bool = False
    passed_over: int = 0

    async def step(self, page: Page) -> bool:
        """Send a page, then note that it was sent. True: there may be more. Raises Unavailable with nothing noted."""
        if not page.events:
            return False
        await self._send(page.events)
        async with self.seat.turn(page.up_to):
            pass
        return page.full(following.PAGE)

    async def _send(self, events: Sequence[Recorded]) -> None:
        if not self.one_by_one:
            events = await self._send_together(events)
        if refused := [event.position for event in events if await self._refused([event])]:
            self.passed_over += len(refused)
            log.warning(
                "%d events passed over, positions %d to %d: a subscriber's queue is full and refuses them; "
                "%d since the start",
                len(refused),
                refused[0],
                refused[-1],
                self.passed_over,
            )
        self.one_by_one = bool(refused)

    async def _send_together(self, events: Sequence[Recorded]) -> Sequence[Recorded]:
        """Those that are left when the broker has refused a page too often: the first refused one, and all behind."""
        for pause in self.pauses:
            refused = await self._refused(events)
            if not refused:
                return ()
            first = next(at for at, event in enumerate(events) if event.event_id in refused)
            events = events[first:]
            await asyncio.sleep(pause)
        return events

    async def _refused(self, events: Sequence[Recorded]) -> frozenset[UUID]:
        try:
            await self.publisher.publish([event_message(event) for event in events])
        except Nacked as nacked:
            return frozenset(nacked.ids)
        return frozenset()


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
    if actor in OWN:
        return "system"
    if actor.startswith("worker:"):
        return "service_account"
    return "unauthenticated" if actor == "anonymous" else "user"
