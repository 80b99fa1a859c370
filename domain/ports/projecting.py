"""What the projector needs: the rows of its views, kept in the transaction that moves its position."""

from collections.abc import Collection, Mapping
from typing import Protocol
from uuid import UUID

from domain.ports.log import Turn
from domain.views import Rows


class ViewRows(Protocol):
    """The rows of views, by the view's name in `domain.views.VIEWS`."""

    async def rows(self, wanted: Mapping[str, Collection[UUID]]) -> dict[str, Rows]:
        """The rows with these ids, as far as they exist, for every view asked for."""
        ...

    async def store(self, changed: Mapping[str, Rows]) -> None:
        """Insert or replace these rows whole. A row that is stored with an equal or later position stays."""
        ...


class ProjectorTurn(Turn, ViewRows, Protocol):
    """The projector's fenced transaction."""
