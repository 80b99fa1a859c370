"""`tally projection rebuild` and `verify`: straight on the database, without the API."""

import asyncio

from api.cli.exits import FAILED, REFUSED, Exit, say
from api.cli.output import write
from infra.settings import Settings, load


def rebuild(name: str) -> int:
    """Fold a view anew from the whole log, and put it in the place of the live one, which goes on serving till then.

    Parameters
    ----------
    name
        tasks, runs, workflows, workers, or all.
    """
    return asyncio.run(_compare(_views(name), replace=True))


def verify(name: str = "all") -> int:
    """Fold a view anew and compare it with the live one; changes nothing. Ends with 1 if they differ.

    Parameters
    ----------
    name
        tasks, runs, workflows, workers, or all.
    """
    return asyncio.run(_compare(_views(name), replace=False))


def _views(name: str) -> list[str]:
    from domain.views import VIEWS

    if name not in (*VIEWS, "all"):
        raise Exit(REFUSED, f"{name}: no such view; one of {', '.join(VIEWS)}, or all")
    return list(VIEWS) if name == "all" else [name]


async def _compare(views: list[str], replace: bool) -> int:
    from adapters.rebuild import open_rebuild
    from consumers.rebuilding import rebuild as fold_anew
    from consumers.rebuilding import verify as compare

    async with open_rebuild(_database(load()), views) as target:
        result = await (fold_anew(target) if replace else compare(target))
    for view in views:
        differing = result.differing.get(view, frozenset())
        write(f"{view}: {'equal' if not differing else f'{len(differing)} rows differ'}\n")
        for row in sorted(differing)[:10]:
            say(f"  {row}")
    say(f"{result.events} events, up to position {result.position}")
    return FAILED if any(result.differing.values()) and not replace else 0


def _database(settings: Settings) -> str:
    from infra.dev_file import running_in

    dev = running_in(settings.dev.folder)
    return dev.database_url if settings.database.url is None and dev is not None else settings.database.dsn()
