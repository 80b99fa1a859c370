"""An event as the log holds it, and as it is handed to the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.events import Event, read_event
from domain.messages import Cause


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stored event. `position`: its place in the whole log; `version`: in its stream; `body`: UTF-8 JSON."""

    position: int
    stream: UUID
    version: int
    type: str
    body: bytes
    event_id: UUID
    recorded_at: datetime
    namespace: str
    cause: Cause

    def event(self) -> Event:
        """The message that `body` holds, in today's form."""
        return read_event(self.type, self.body)

    def following(self, actor: str) -> Cause:
        """The cause of what `actor` decides because of this event."""
        cause = self.cause
        return Cause(cause.correlation_id, str(self.event_id), actor, cause.traceparent, cause.tracestate)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append to `stream` as `version`, which must be the stream's next."""

    stream: UUID
    version: int
    namespace: str
    event: Event
    cause: Cause


def new_events(stream: UUID, head: int, namespace: str, events: Sequence[Event], cause: Cause) -> list[NewEvent]:
    """`events` numbered on from `head`, the stream's last version (0: the stream is new)."""
    return [NewEvent(stream, version, namespace, event, cause) for version, event in enumerate(events, start=head + 1)]
