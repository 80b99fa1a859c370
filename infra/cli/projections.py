"""`tally projection rebuild` and `verify`: straight on the database, without the API."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from typing import Any, TypeVar
from uuid import UUID

from api.cli.exits import FAILED, USAGE, Exit, say
from api.cli.output import write
from domain.errors import Unavailable
from infra.settings import Settings, load

Done = TypeVar("Done")


def rebuild(name: str, /) -> int:
    """Fold a view anew from the whole log, and put it in the place of the live one, which goes on serving till then.

    Parameters
    ----------
    name
        tasks, runs, workflows, workers, limits, task_types, or all.
    """
    from infra.projections import rebuild_views

    known = _known(name)
    done = _done(rebuild_views(_database(load()), known))
    _show(done.differing)
    say(f"{done.events} events, up to position {done.position}")
    return 0


def verify(name: str = "all", /) -> int:
    """Fold the log, read by the library's recorder, and compare; changes nothing. Ends with 1 if rows differ.

    Parameters
    ----------
    name
        tasks, runs, workflows, workers, limits, task_types, or all.
    """
    from infra.projections import verify_views

    known = _known(name)
    done = _done(verify_views(_database(load()), known))
    _show(done.differing)
    say(f"{done.events} events, up to position {done.position}")
    return 0 if done.equal else FAILED


def _done(work: Coroutine[Any, Any, Done]) -> Done:
    """Raises Unavailable."""
    from psycopg import OperationalError

    try:
        return asyncio.run(work)
    except OperationalError as error:
        raise Unavailable(f"database: {error}") from error


def _known(name: str) -> str:
    from infra.projections import NoSuchView, views_named

    try:
        views_named(name)
    except NoSuchView as unknown:
        raise Exit(USAGE, str(unknown)) from None
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
