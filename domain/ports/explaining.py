"""What is known of a task, for those who ask why it stands as it does."""

from typing import Protocol
from uuid import UUID

from domain.explaining import Known
from domain.ports.querying import Allowed


class Explaining(Protocol):
    """Reads for people. Takes some seconds at most. Raises Unavailable when the database does not answer in time."""

    async def known(self, id: UUID, allowed: Allowed) -> Known | None:
        """All of one moment; None when there is no such task. Of other namespaces no task is named."""
        ...
