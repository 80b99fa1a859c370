"""`tally projection rebuild` and `verify`: straight on the database, without the API."""

import asyncio
from collections.abc import Collection, Mapping
from uuid import UUID

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
    from infra.projections import rebuild_views

    done = asyncio.run(rebuild_views(_database(load()), _known(name)))
    _show(done.differing)
    say(f"{done.events} events, up to position {done.position}")
    return 0


def verify(name: str = "all") -> int:
    """Fold the log, read by the library's recorder, and compare; changes nothing. Ends with 1 if rows differ.

    Parameters
    ----------
    name
        tasks, runs, workflows, workers, or all.
    """
    from infra.projections import verify_views

    done = asyncio.run(verify_views(_database(load()), _known(name)))
    _show(done.differing)
    say(f"{done.events} events, up to position {done.position}")
    return 0 if done.equal else FAILED


def _known(name: str) -> str:
    from infra.projections import NoSuchView, views_named

    try:
        views_named(name)
    except NoSuchView as unknown:
        raise Exit(REFUSED, str(unknown)) from None
    return name


def _show(differing: Mapping[str, Collection[UUID]]) -> None:
    for view, rows in differing.items():
        write(f"{view}: {f'{len(rows)} rows differ' if rows else 'equal'}\n")
        for row in sorted(rows)[:10]:
            say(f"  {row}")


def _database(settings: Settings) -> str:
    from infra.dev_file import running_in

    dev = running_in(settings.dev.folder)
    return dev.database_url if settings.database.url is None and dev is not None else settings.database.dsn()
