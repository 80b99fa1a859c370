"""Which process a name stands for. Each is imported only when it is asked for."""

from importlib import import_module

from domain.errors import TallyportError
from infra.durability import on_durable
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


class NoSuchProcess(TallyportError):
    """A name that stands for no process."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: no such process; one of {', '.join(NAMES)}")


def serve(name: str, settings: Settings | None = None) -> None:
    """Run the process `name` until SIGTERM or SIGINT. Raises NoSuchProcess, MissingSetting."""
    if name not in NAMES:
        raise NoSuchProcess(name)
    main: Main = import_module(f"infra.processes.{name}").main
    run(name, on_durable(main) if name in WRITERS else main, settings or load())
