"""Commands on their way in over HTTP: read strictly, published with the sender's name, decided elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from domain.messages import Cause, Message


@dataclass(frozen=True, slots=True)
class PostedCommand:
    """A command to publish. `data` is its body, byte for byte as sent; the cause's actor is its verified sender."""

    id: UUID
    type: str
    namespace: str
    data: bytes
    cause: Cause


class CommandDesk(Protocol):
    """Takes commands and decides nothing."""

    def open(self, body: bytes) -> tuple[Mapping[str, object], bytes]:
        """Attributes and data of a structured CloudEvent, names in lower case. Raises Unreadable."""
        ...

    def read(self, type: str, data: bytes) -> Message:
        """The command in `data`. Raises Unreadable for what is no strict JSON object, Rejected for all else."""
        ...

    async def publish(self, command: PostedCommand) -> None:
        """Return when the broker has confirmed it. Raises Unavailable."""
        ...

    async def used_for_another(self, command: PostedCommand) -> bool:
        """Whether this sender's id was decided on before with another body."""
        ...
