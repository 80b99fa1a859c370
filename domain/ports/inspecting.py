"""What operators look at besides tasks: messages that nobody could judge."""

from typing import Protocol
from uuid import UUID

from domain.ports.querying import Found, Listed


class DeadLetters(Protocol):
    """Dead letters, the newest first, as JSON text."""

    async def listed(self, limit: int = 50, cursor: str | None = None) -> Listed:
        """A page without bodies and headers. Raises BadQuery for a cursor that is none."""
        ...

    async def one(self, id: UUID) -> Found | None:
        """All that was kept; the body as `body_base64`, for it may be no text."""
        ...
