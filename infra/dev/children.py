"""Servers as children of this process: started through a keeper, found again by pid and start time."""

import contextlib
import errno
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self, TypeVar

from infra.dev.errors import CannotProvide, EndedEarly, StartFailed

KEEPER = Path(__file__).with_name("keeper.py")
PORTS = range(20_000, 32_768)  # below those that Linux and macOS give to outgoing connections
LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
TRIES = 3
Started = TypeVar("Started")
_promised = set[int]()
_promising = Lock()


@dataclass(frozen=True, slots=True)
class Child:
    """One server of a plan. `stop` is the signal that ends it well, `grace` the seconds it then has."""

    name: str
    command: Sequence[str]
    env: dict[str, str]
    log: Path
    stop: str = "SIGTERM"
    grace: float = 10.0
    ready: Path | None = None  # the next child waits until this path exists


@dataclass(frozen=True, slots=True)
class Plan:
    """What one keeper holds; it removes `cgroup` and `folder` in the end. `wrapper` starts the keeper itself."""

    children: Sequence[Child]
    before: Sequence[Sequence[str]] = ()
    wrapper: Sequence[str] = ()
    cgroup: str | None = None
    folder: Path | None = None


@dataclass(slots=True)
class Kept:
    """A running keeper. `pid` and `started` (clock ticks since boot) name it beyond reuse of the pid."""

    process: subprocess.Popen[bytes]
    pids: dict[str, int]
    logs: dict[str, Path]
    keeper_pid: int
    started: int = field(init=False)

    def __post_init__(self) -> None:
        self.started = start_time(self.keeper_pid) or 0

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def log(self) -> Path:
        """That of the server which started first."""
        return next(iter(self.logs.values()))

    def ended(self) -> str:
        """The server that ended by itself and took the others with it; only of a keeper that runs no more."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip() or next(iter(self.logs))

    def stop(self, seconds: float = 60) -> None:
        """End the servers and wait until they are gone; a second call does nothing."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        end(self.keeper_pid, self.started)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def keep(plan: Plan, owned: bool = True) -> Kept:
    """Start `plan`'s servers. Owned ones end with this process, others when their keeper gets SIGTERM."""
    log = plan.children[0].log
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.with_suffix(".keeper").open("ab") as errors:
        process = subprocess.Popen(
            [*plan.wrapper, sys.executable, "-I", str(KEEPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(as_json(plan, owned).encode() + b"\n")
    process.stdin.flush()
    if not owned:
        process.stdin.close()
    line = process.stdout.readline()
    if not line:
        process.kill()
        process.wait()
        raise EndedEarly(plan.children[0].name, "it ended at once", log)
    logs = {child.name: child.log for child in plan.children}
    return Kept(process, json.loads(line), logs, process.pid if not plan.wrapper else only_child(process.pid))


def as_json(plan: Plan, owned: bool) -> str:
    children = [
        {
            "name": child.name,
            "command": list(child.command),
            "env": child.env,
            "log": str(child.log),
            "stop": child.stop,
            "grace": child.grace,
            "ready": str(child.ready) if child.ready else None,
        }
        for child in plan.children
    ]
    before = [list(command) for command in plan.before]
    folder = str(plan.folder) if plan.folder else None
    whole = {"children": children, "before": before, "cgroup": plan.cgroup, "folder": folder, "watch_stdin": owned}
    return json.dumps(whole)


def only_child(pid: int) -> int:
    """The pid, as this process sees it, of the one child of `pid`."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def start_time(pid: int) -> int | None:
    """When `pid` started, in clock ticks since boot; None if it does not run (a zombie doesn't)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def end(pid: int, started: int, number: signal.Signals = signal.SIGTERM) -> bool:
    """Signal `pid` if it is still the process that started at `started`; says whether it was."""
    if start_time(pid) != started:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    return True


def free_ports(count: int) -> list[int]:
    """`count` TCP ports that were free on both loopback addresses a moment ago, none given twice by this process.
    Raises CannotProvide."""
    with _promising:
        found: list[int] = []
        for port in random.sample(PORTS, len(PORTS)):
            if len(found) == count:
                break
            if port not in _promised and is_free(port):
                found.append(port)
        if len(found) < count:
            what = f"none is left of {PORTS.start} to {PORTS.stop - 1}"
            raise CannotProvide("free ports", what, "End what listens there.")
        _promised.update(found)
    return found


def is_free(port: int) -> bool:
    """Whether nobody listens on `port`. Loopback without IPv6 is no hindrance."""
    for family, address in LOOPBACKS:
        try:
            with socket.socket(family) as one:
                one.bind((address, port))
        except OSError as failed:
            if failed.errno == errno.EADDRINUSE:
                return False
    return True


def on_free_ports(count: int, start: Callable[[list[int]], Started]) -> Started:
    """`start` with `count` free ports, and with others if a server ends: a port may be taken in between."""
    for left in reversed(range(TRIES)):
        try:
            return start(free_ports(count))
        except EndedEarly as failed:
            if not left:
                raise
            print(f"{failed}\n{failed.what} is started again, on other ports", file=sys.stderr)
    raise AssertionError


def wait_until(ready: Callable[[], bool], kept: Kept, what: str, seconds: float) -> None:
    """Poll `ready` until it holds. Raises EndedEarly if a server ends, StartFailed if the time is over."""
    deadline = time.monotonic() + seconds
    while not ready():
        if not kept.running:
            name = kept.ended()
            raise EndedEarly(what, f"{name} ended", kept.logs[name])
        if time.monotonic() > deadline:
            kept.stop()
            raise StartFailed(what, f"not ready after {seconds:.0f} s", kept.log)
        time.sleep(0.03)


def accepts(port: int, hello: bytes = b"", answer: bytes = b"") -> bool:
    """Whether 127.0.0.1:`port` takes a connection and, if `hello` is given, answers it with `answer`."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            if not hello:
                return True
            connection.sendall(hello)
            return connection.recv(len(answer) or 1).startswith(answer)
    except OSError:
        return False
