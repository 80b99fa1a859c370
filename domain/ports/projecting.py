"""What the projector needs: the rows of its views, kept in the transaction that moves its position."""

from collections.abc import Collection, Mapping
from typing import Protocol
from uuid import UUID

from domain.ports.log import Page, Turn
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


class Switch(ViewRows, Protocol):
    """One transaction that holds the live projector back: it goes on after its end, with the tables then in place."""

    @property
    def live(self) -> int:
        """The live projector's position, which stands still meanwhile."""
        ...

    async def page(self, after: int, limit: int) -> Page:
        """As `Rebuild.page`."""
        ...

    async def finish(self, after: int) -> None:
        """Compare the rows with an event after `after` too, then put the new tables in the place of the live ones."""
        ...
