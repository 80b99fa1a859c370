"""`tally projection rebuild` and `verify`: the views again from position 0, and whether they are what the log says."""

import asyncio

from adapters.rebuild import open_rebuild
from adapters.verifying import Verified, verify
from consumers.rebuilding import Rebuilt, rebuild
from domain.errors import TallyportError
from domain.views import VIEWS

ALL = "all"


class NoSuchView(TallyportError):
    """A name that stands for no view."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: no such view; one of {', '.join((*VIEWS, ALL))}")


def views_named(name: str) -> list[str]:
    """The views that a name stands for. Raises NoSuchView."""
    if name != ALL and name not in VIEWS:
        raise NoSuchView(name)
    return list(VIEWS) if name == ALL else [name]


async def rebuild_views(dsn: str, name: str) -> Rebuilt:
    """Rebuild beside the live views and change places. `dsn`: as role tally_app. Raises NoSuchView, Unavailable."""
    async with open_rebuild(dsn, views_named(name)) as target:
        return await rebuild(target)


async def verify_views(dsn: str, name: str) -> Verified:
    """Compare with a fold of the log; changes nothing. `dsn`: a role that may read. Raises NoSuchView."""
    return await asyncio.to_thread(verify, dsn, views_named(name))
