"""Every process of the platform as a child of this one, over servers that run already: for `tally dev`, the demo, tests
and benchmarks."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from domain.errors import TallyportError
from infra.dev.children import free_ports
from infra.dev.folders import made

CONSUMERS = ("handler", "conductor", "projector", "messenger", "relay", "logkeeper", "notifier")
FOLLOWERS = frozenset({"conductor", "projector", "messenger", "relay", "notifier"})
STOP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


class NotReady(TallyportError):
    """A process did not come up; `log` is the end of what it wrote."""

    def __init__(self, name: str, log: str) -> None:
        super().__init__(f"{name} did not come up; its log ends:\n{log}")
        self.name, self.log = name, log


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers are. `database`: as its owner. `amqp`: account -> URL, for tally, worker and client."""

    database: str
    amqp: Mapping[str, str]
    docker_host: str | None = None

    def as_role(self, role: str) -> str:
        """The database's address as another role, without a password."""
        parts = urlsplit(self.database)
        return urlunsplit(parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}"))


@dataclass(slots=True)
class System:
    """The processes. `folder` keeps their logs and data; `extra` are more environment variables for all of them."""

    addresses: Addresses
    folder: Path
    extra: Mapping[str, str] = field(default_factory=dict[str, str])
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, "subprocess.Popen[bytes]"])
    api_port: int = 0
    issuer_port: int = 0

    def __post_init__(self) -> None:
        made(self.folder, 0o700)
        free = free_ports(2)
        self.api_port = self.api_port or free[0]
        self.issuer_port = self.issuer_port or free[1]

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def issuer_url(self) -> str:
        return f"http://127.0.0.1:{self.issuer_port}"

    def prepare(self) -> None:
        """Migrate the database and declare the topology. Both may be done already."""
        import asyncio

        from adapters.topology import declare
        from infra.migrate import migrate
        from infra.topology import TOPOLOGY

        migrate(self.addresses.database)
        asyncio.run(declare(self.addresses.amqp["tally"], TOPOLOGY))

    def start(self, *names: str, **extra: str) -> None:
        """Start processes that are named like `tally serve` names them; `worker:2` is a second worker."""
        for name in names:
            with (self.folder / f"{name}.log").open("ab") as log:
                self.children[name] = subprocess.Popen(
                    [sys.executable, "-m", "infra.processes", name.partition(":")[0]],
                    env={**self.environment(name), **extra},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=_die_with_parent,  # noqa: PLW1509
                )

    def environment(self, name: str) -> dict[str, str]:
        """The settings of one process."""
        where, kind = self.addresses, name.partition(":")[0]
        account = "worker" if kind == "worker" else "tally"
        return {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "TALLY_DATABASE__URL": where.as_role("tally_app"),
            "TALLY_DATABASE__OWNER_URL": where.database,
            "TALLY_DATABASE__READ_URL": where.as_role("tally_read"),
            "TALLY_AMQP__URL": where.amqp[account],
            "TALLY_API__PORT": str(self.api_port),
            "TALLY_API__COMMANDS": "true",
            "TALLY_AUTH__ISSUER": self.issuer_url,
            "TALLY_ISSUER__PORT": str(self.issuer_port),
            "TALLY_ISSUER__FOLDER": str(self.folder / "issuer"),
            "TALLY_COMMANDS__IDENTITY": "optional",
            "TALLY_COMMANDS__PRINCIPALS": json.dumps({"client": ["*"], "tally": ["*"]}),
            "TALLY_COMMANDS__TRUSTED_PUBLISHERS": json.dumps(["tally"]),
            "TALLY_NOTIFY__ALLOW_PRIVATE": "true",
            "TALLY_LOGS__FOLDER": str(self.folder / "logs"),
            "TALLY_WORKER__FOLDER": str(self.folder / "worker"),
            "TALLY_IMAGES__BASE": os.environ.get("TALLY_IMAGE_BUSYBOX", "tallyport/busybox:dev"),
            "TALLY_METRICS__ENABLED": "false",
            **({"TALLY_WORKER__ID": name.replace(":", "-")} if kind == "worker" else {}),
            **({"TALLY_WORKER__ENGINE": where.docker_host} if where.docker_host else {}),
            **self.extra,
        }

    def wait_ready(self, *names: str, seconds: float = 60) -> None:
        """Return when these processes (none named: all) do their work. Raises NotReady."""
        deadline = time.monotonic() + seconds
        for name in names or tuple(self.children):
            ready = self._readiness(name)
            while not ready():
                if self.children[name].poll() is not None or time.monotonic() > deadline:
                    raise NotReady(name, self.log(name))
                time.sleep(0.05)

    def stop(self, *names: str) -> None:
        """SIGTERM, then SIGKILL to what has not ended in 10 s. None named: all."""
        chosen = [self.children.pop(name) for name in names or tuple(self.children)]
        for child in chosen:
            child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for child in chosen:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def kill(self, *names: str) -> None:
        """SIGKILL: the process has no chance to write, answer or settle anything. None named: all."""
        chosen = [self.children.pop(name) for name in names or tuple(self.children)]
        for child in chosen:
            child.kill()
        for child in chosen:
            child.wait()

    def log(self, name: str, characters: int = 4000) -> str:
        """The end of what a process wrote."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-characters:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _readiness(self, name: str) -> Callable[[], bool]:
        match name.partition(":")[0]:
            case "api" | "all":
                return lambda: _answers(f"{self.api_url}/readyz")
            case "issuer":
                return lambda: _answers(f"{self.issuer_url}/.well-known/openid-configuration")
            case "worker":
                return lambda: self._finds(
                    "SELECT 1 FROM worker_beats WHERE worker_id = %s AND received_at > now() - interval '5 seconds'",
                    (name.replace(":", "-"),),
                )
            case follower if follower in FOLLOWERS:
                return lambda: self._finds(
                    "SELECT 1 FROM consumers c JOIN pg_stat_activity a ON a.pid = c.holder_pid "
                    "AND a.backend_start = c.holder_started WHERE c.name = %s",
                    (follower,),
                )
            case other:
                return lambda: self._finds(
                    "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE %s", (f"tally {other}%",)
                )

    def _finds(self, query: str, parameters: Iterable[str]) -> bool:
        import psycopg

        with psycopg.connect(self.addresses.database, autocommit=True) as connection:
            return connection.execute(query.encode(), tuple(parameters)).fetchone() is not None


def fresh_database(owner_dsn: str, name: str) -> str:
    """A new, empty database beside the one of `owner_dsn`, in place of any of that name; its address."""
    import psycopg

    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return urlunsplit(urlsplit(owner_dsn)._replace(path=f"/{name}"))


def _answers(url: str) -> bool:
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
