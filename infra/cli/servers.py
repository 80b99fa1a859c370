"""`tally serve`, `tally dev`, `tally db migrate`."""

from typing import Annotated

from cyclopts import Parameter

from api.cli.exits import USAGE, Exit, say


def serve(name: str, /) -> int:
    """Run one process of the platform until it is told to end.

    Parameters
    ----------
    name
        api, issuer, handler, conductor, messenger, projector, relay, notifier, logkeeper or worker; all is every
        one of them but the issuer, in one process.
    """
    from infra.processes.serve import NoSuchProcess
    from infra.processes.serve import serve as run

    try:
        run(name)
    except NoSuchProcess as unknown:
        raise Exit(USAGE, str(unknown)) from None
    return 0


def dev(*, fresh: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Bring up a whole platform on this machine; Ctrl-C ends it, its data stays.

    Parameters
    ----------
    fresh
        Begin with empty data.
    """
    from infra.dev_system import run
    from infra.settings import load

    return run(load(), fresh)


def migrate() -> int:
    """Bring the database's schema up to date, as `database.owner_url`."""
    from infra.migrate import migrate as bring_up
    from infra.settings import load

    bring_up(load().database.dsn("owner"))
    say("the schema is up to date")
    return 0
