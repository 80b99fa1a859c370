"""What became of a notification: facts of a stream of their own, `notification:<event id>:<channel>`."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.messages import Message

Tries = Annotated[int, Field(ge=0)]


class NotificationSent(Message):
    """A channel took the notification of an event."""

    TYPE = "notification.sent.v1"
    event_id: UUID
    channel: str
    tries: Tries


class NotificationFailed(Message):
    """The notification of an event was given up. `reason`: what the last try met."""

    TYPE = "notification.failed.v1"
    event_id: UUID
    channel: str
    tries: Tries
    reason: str
