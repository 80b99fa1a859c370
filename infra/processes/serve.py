"""Which process a name stands for. Each is imported only when it is asked for."""

from importlib import import_module

from domain.errors import TallyportError
from infra.database_checks import checked
from infra.processes.process import Main, run
from infra.settings import Settings, load

NAMES = (
    "all",
    "api",
    "conductor",
    "handler",
    "issuer",
    "logkeeper",
    "messenger",
    "notifier",
    "projector",
    "relay",
    "worker",
)
WRITERS = frozenset({"all", "handler", "conductor", "notifier"})
READERS = frozenset({"logkeeper", "messenger", "projector", "relay"})


class NoSuchProcess(TallyportError):
    """A name that stands for no process."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: no such process; one of {', '.join(NAMES)}")


def serve(name: str, settings: Settings | None = None) -> None:
    """Run the process `name` until SIGTERM or SIGINT. Raises NoSuchProcess, MissingSetting."""
    if name not in NAMES:
        raise NoSuchProcess(name)
    main: Main = import_module(f"infra.processes.{name}").main
    if name in WRITERS | READERS:
        main = checked(main, durable=name in WRITERS)
    run(name, main, settings or load())
