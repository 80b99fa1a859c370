"""The projector: events into views. Rows and position move in one transaction."""

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class Project:
    """Folds each page into the views; a page that was folded before changes nothing."""

    seat: Seat[ProjectorTurn]

    async def __call__(self, page: Page) -> bool:
        if not page.events:
            return False
        async with self.seat.turn(page.up_to) as turn:
            await project(turn, page.events, list(VIEWS))
        return len(page.events) >= following.PAGE


async def project(target: ViewRows, events: Sequence[Recorded], views: Sequence[str]) -> dict[str, list[UUID]]:
    """Fold `events` into the rows of these views: read what they change, fold, store. Whose rows they are about."""
    said = facts(events)
    changes = {view: by_row(VIEWS[view], said) for view in views}
    about = {view: list(grouped) for view, grouped in changes.items()}
    rows = await target.rows(about)
    await target.store({view: fold(VIEWS[view], rows[view], grouped) for view, grouped in changes.items()})
    return about
