"""The projector: events into views. Rows and position move in one transaction."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from consumers import following
from domain.ports.log import Page, Seat
from domain.ports.projecting import ProjectorTurn, ViewRows
from domain.recorded import Recorded
from domain.views import VIEWS, by_row, facts, fold

NAME = "projector"
PAGE = 4000
"""A backlog folds most of a task's events in one page, and its row is written once: a quarter less CPU than 1,000."""
SLICE_STREAMS, SLICE_BYTES = 100, 8 << 20
"""How many streams are folded at once, and how much their events say: a task may have a megabyte, in its submission and
in its row, and both are here several times over while they are read, folded and stored."""


@dataclass(frozen=True, slots=True)
class Project:
    """Folds each page into the views; a page that was folded before changes nothing."""

    seat: Seat[ProjectorTurn]

    async def __call__(self, page: Page) -> bool:
        if not page.events:
            return False
        async with self.seat.turn(page.up_to) as turn:
            await project(turn, page.events, list(VIEWS))
        return page.full(following.PAGE)


async def project(target: ViewRows, events: Sequence[Recorded], views: Sequence[str]) -> dict[str, list[UUID]]:
    """Fold `events` into the rows of these views: read what they change, fold, store. Whose rows they are about."""
    about: dict[str, list[UUID]] = {view: [] for view in views}
    for part in slices(events):
        said = facts(part)
        changes = {view: by_row(VIEWS[view], said) for view in views}
        rows = await target.rows({view: list(grouped) for view, grouped in changes.items()})
        await target.store({view: fold(VIEWS[view], rows[view], grouped) for view, grouped in changes.items()})
        for view, grouped in changes.items():
            about[view] += grouped
    return about


def slices(events: Iterable[Recorded]) -> Iterator[list[Recorded]]:
    """`events` in parts to be folded one after the other, those of a stream together: no row is of two streams."""
    streams: dict[UUID, list[Recorded]] = {}
    for event in events:
        streams.setdefault(event.stream, []).append(event)
    part: list[Recorded] = []
    count = size = 0
    for own in streams.values():
        bytes_of_own = sum(len(event.body) for event in own)
        if part and (count == SLICE_STREAMS or size + bytes_of_own > SLICE_BYTES):
            yield part
            part, count, size = [], 0, 0
        part += own
        count, size = count + 1, size + bytes_of_own
    if part:
        yield part
