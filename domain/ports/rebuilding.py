"""What a rebuild needs: new rows beside the live ones, a comparison, and one moment in which they change places."""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from domain.ports.log import Page
from domain.ports.projecting import ViewRows


@dataclass(frozen=True, slots=True)
class Compared:
    """`differing`: ids whose new and live rows are not equal, of those that no event after `up_to` has changed.

    Rows that such an event has changed on either side are not judged: compare them when both sides have seen it.
    """

    up_to: int
    differing: frozenset[UUID]


class Beside(ViewRows, Protocol):
    """One transaction on the new rows."""

    async def compare(self, view: str, done: int, ids: Collection[UUID] | None = None) -> Compared:
        """Compare new rows, folded up to position `done`, with the live ones; only of `ids`, if given."""
        ...


class Switch(Beside, Protocol):
    """A transaction that holds the projector back: it goes on after its end, with the rows then in place."""

    @property
    def live(self) -> int:
        """The position that the live rows are folded up to, and stay at meanwhile."""
        ...

    async def finish(self) -> None:
        """Put the new rows in the place of the live ones. Raises Unavailable while long reads are in the way."""
        ...


class Rebuild(Protocol):
    """Rebuilds the views it was made for. Only one rebuild runs at a time: a second one is Unavailable."""

    @property
    def views(self) -> Sequence[str]: ...

    async def begin(self) -> None:
        """Lay down new, empty rows; those of an abandoned rebuild are dropped."""
        ...

    async def page(self, after: int, limit: int) -> Page:
        """The next events after a position, at most `limit`, and no more once they say PAGE_BYTES."""
        ...

    def beside(self) -> AbstractAsyncContextManager[Beside]:
        """A transaction on the new rows: commits at the end of the block, rolls back if it raises."""
        ...

    def switch(self) -> AbstractAsyncContextManager[Switch]:
        """The transaction of the change of places. Raises Unavailable while the projector's turn does not end."""
        ...
