"""Rebuild views from position 0 beside the live ones, compare, and let them change places under a live projector."""

from dataclasses import dataclass
from uuid import UUID

from consumers.projector import project
from domain.errors import Unavailable
from domain.ports.log import Page
from domain.ports.rebuilding import Beside, Rebuild, Switch

PAGE = 5000
TRIES = 20

Ids = dict[str, set[UUID]]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """`position`: the last event in the new rows. `differing`: rows of each view that were not equal before."""

    position: int
    events: int
    differing: dict[str, frozenset[UUID]]


async def rebuild(target: Rebuild) -> Rebuilt:
    """Fold the whole log anew, then take the place of the live rows. Leaves these untouched if it fails before that.

    Raises Unavailable when another rebuild runs, or when reads leave no moment for the switch.
    """
    await target.begin()
    position, events, _ = await _catch_up(target, 0)
    differing, compared = await _compare(target, position)
    position, more, touched = await _catch_up(target, compared)
    for tries_left in reversed(range(TRIES)):
        try:
            async with target.switch() as last:
                position = await _finish(target, last, position, touched, differing)
            break
        except Unavailable:
            if not tries_left:
                raise
    return Rebuilt(position, events + more, {view: frozenset(ids) for view, ids in differing.items()})


async def _catch_up(target: Rebuild, position: int) -> tuple[int, int, Ids]:
    """Fold until a page is not full. The position reached, how many events, and the rows that they are about."""
    touched: Ids = {view: set() for view in target.views}
    events = 0
    while True:
        page = await target.page(position, PAGE)
        async with target.beside() as beside:
            await _fold(target, beside, page, touched)
        events, position = events + len(page.events), page.up_to
        if not page.full(PAGE):
            return position, events, touched


async def _fold(target: Rebuild, beside: Beside, page: Page, touched: Ids) -> None:
    for view, ids in (await project(beside, page.events, target.views)).items():
        touched[view].update(ids)


async def _compare(target: Rebuild, position: int) -> tuple[Ids, int]:
    """What differs, and from where on rows have yet to be compared."""
    differing: Ids = {}
    compared = position
    async with target.beside() as beside:
        for view in target.views:
            result = await beside.compare(view, position)
            differing[view] = set(result.differing)
            compared = min(compared, result.up_to)
    return differing, compared


async def _finish(target: Rebuild, last: Switch, position: int, touched: Ids, differing: Ids) -> int:
    while position < last.live:
        page = await target.page(position, PAGE)
        await _fold(target, last, page, touched)
        position = page.up_to
    for view, ids in touched.items():
        differing[view] |= (await last.compare(view, position, ids)).differing
    await last.finish()
    return position
