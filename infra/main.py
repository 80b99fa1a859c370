"""`tally`: the console script. Nothing heavy is imported before a command asks for it."""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError

from api.cli.app import client_app, with_command_apart
from api.cli.exits import INTERRUPTED, USAGE, Exit, exit_code, explain, leave_unwritten
from api.cli.parameters import Connect

if TYPE_CHECKING:
    from api.client import Client


def connect(namespace: str | None) -> "AbstractAsyncContextManager[Client]":
    """A client, with what it takes imported only now."""
    from infra.client import connect as bound

    return bound(namespace)


def app(connect: Connect) -> App:
    """All commands."""
    whole = client_app(connect, version("tallyport"))
    for name, where in (
        ("serve", "infra.cli.servers:serve"),
        ("dev", "infra.cli.servers:dev"),
        ("login", "infra.cli.access:login"),
        ("logout", "infra.cli.access:logout"),
        ("whoami", "infra.cli.access:whoami"),
        ("token", "infra.cli.access:token"),
        ("doctor", "infra.cli.doctor:doctor"),
    ):
        whole.command(where, name=name, help=HELP[name])
    database = App(name="db", help="The database.")
    database.command("infra.cli.servers:migrate", name="migrate", help=HELP["migrate"])
    settings = App(name="config", help="The settings.")
    settings.command("infra.cli.access:show", name="show", help=HELP["show"])
    whole.command(database)
    whole.command(settings)
    whole["projection"].command("infra.cli.projections:rebuild", name="rebuild", help=HELP["rebuild"])
    whole["projection"].command("infra.cli.projections:verify", name="verify", help=HELP["verify"])
    return whole


HELP = {
    "serve": "Run one process of the platform until it is told to end.",
    "dev": "Bring up a whole platform on this machine; Ctrl-C ends it.",
    "login": "Keep a client's credentials for later commands.",
    "logout": "Forget them.",
    "whoami": "Show who asks, where, and what for.",
    "token": "Print a bearer token.",
    "doctor": "Check each part that commands need.",
    "migrate": "Bring the database's schema up to date.",
    "show": "Show the settings in force and where they come from.",
    "rebuild": "Fold a view anew from the whole log, and put it in place.",
    "verify": "Fold a view anew and compare; changes nothing.",
}


def run(words: Sequence[str], connect: Connect = connect) -> int:
    """Run one command line; returns the exit code. Never raises what a person can bring about."""
    try:
        return int(app(connect)(with_command_apart(words), exit_on_error=False, result_action="return_value") or 0)
    except CycloptsError:
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        leave_unwritten()
        return 0
    except Exception as error:
        if not expected(error):
            raise
        explain(error)
        leave_unwritten()
        return exit_code(error)


def expected(error: Exception) -> bool:
    """Whether it is something to tell a person, and no defect of ours."""
    from domain.errors import TallyportError
    from infra.dev.errors import DevError

    return isinstance(error, TallyportError | DevError | OSError | Exit)


def main() -> None:
    """The console script. A stream that the caller has closed is one that nobody reads."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - to the program's end
    logging.getLogger("aiormq").addHandler(logging.NullHandler())  # it is told as what it leads to
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
