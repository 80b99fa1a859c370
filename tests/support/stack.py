"""Real servers for tests, by one switch: TALLY_STACK = external | containers | native | auto.

| value      | where the servers come from                                                                      |
|------------|--------------------------------------------------------------------------------------------------|
| external   | those of `make up`, or of the file that TALLY_STACK_FILE names (the same JSON)                    |
| containers | testcontainers, from TALLY_IMAGE_POSTGRES and TALLY_IMAGE_RABBITMQ on the engine that answers     |
| native     | started here by infra.dev on free ports and folders below `.dev/test`                             |
| auto       | external if it is up, containers if the engine here has both images, else native                  |

A test sees addresses only. Each server is started when the first test asks for it, or ahead of time in a thread.
"""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from infra.dev import docker_engine, engine_api, images, postgres, rabbitmq
from infra.dev import stack as dev_stack
from infra.dev.errors import CannotProvide
from infra.dev.folders import DEV, made
from tests.support import containers

TESTS = DEV / "test"


class Source(Protocol):
    """Where servers come from. Each method starts its server and leaves its end to `closing`."""

    def postgres(self, closing: ExitStack) -> str:
        """The superuser's DSN; its host lets the platform's roles in without a password."""
        ...

    def broker(self, closing: ExitStack) -> tuple[dict[str, str], str]:
        """The accounts' AMQP URLs, and the management API's URL with an administrator in it."""
        ...

    def engine(self, closing: ExitStack) -> tuple[str, str]:
        """The engine's DOCKER_HOST, with both base images, and the address of published ports."""
        ...


class External:
    """Servers that somebody else keeps."""

    def __init__(self, file: Path) -> None:
        self.written: dict[str, Any] = json.loads(file.read_text())

    def postgres(self, closing: ExitStack) -> str:
        return str(self.written["postgres_url"])

    def broker(self, closing: ExitStack) -> tuple[dict[str, str], str]:
        return self.written["amqp_urls"], self.written["management_url"]

    def engine(self, closing: ExitStack) -> tuple[str, str]:
        images.ensure(self.written["docker_host"])
        return self.written["docker_host"], self.written["engine_address"]


class Native:
    """Servers of this test run."""

    def __init__(self) -> None:
        self.folder = TESTS / f"{os.getpid()}-{secrets.token_hex(2)}"

    def place(self, name: str, closing: ExitStack) -> Path:
        closing.callback(shutil.rmtree, self.folder, ignore_errors=True)
        return self.folder / name

    def postgres(self, closing: ExitStack) -> str:
        return closing.enter_context(postgres.start(self.place("postgres", closing), fsync=False)).dsn

    def broker(self, closing: ExitStack) -> tuple[dict[str, str], str]:
        running = closing.enter_context(rabbitmq.start(self.place("rabbitmq", closing)))
        return running.urls(), running.management_url

    def engine(self, closing: ExitStack) -> tuple[str, str]:
        running = closing.enter_context(docker_engine.start(self.engine_folder(closing)))
        if running.private:
            engine_api.remove_all_containers(running.host)  # of a run that was killed
        else:
            closing.callback(engine_api.remove_new_installations, running.host, engine_api.installations(running.host))
        for name in images.ensure(running.host):
            if not running.private:
                closing.callback(engine_api.remove_image, running.host, name)
        return running.host, running.address

    def engine_folder(self, closing: ExitStack) -> Path:
        """A folder that keeps its images from run to run; one of this run's own while another run uses it."""
        lock = closing.enter_context((made(TESTS) / "engine.lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return self.place("engine", closing)
        return TESTS / "engine"


def choose(wanted: str) -> tuple[Source, str]:
    """The source that `wanted` names, and why it was taken. Raises CannotProvide for what is not there."""
    file = Path(os.environ.get("TALLY_STACK_FILE", dev_stack.FILE))
    up = "TALLY_STACK_FILE" in os.environ or bool(dev_stack.running())
    if wanted == "external" and not up:
        raise CannotProvide("TALLY_STACK=external", "nothing is up", "Run `make up`, or set TALLY_STACK_FILE.")
    if wanted == "external" or (wanted == "auto" and up):
        return External(file), f"external: {file}"
    if wanted == "containers":
        return containers.Containers(require_engine()), "containers: asked for"
    if wanted == "auto" and (host := engine_api.reachable()) and containers.has_images(host):
        return containers.Containers(host), "containers: the engine here has both images"
    if wanted in ("native", "auto"):
        return Native(), "native: private servers below .dev/test"
    raise CannotProvide("TALLY_STACK", f"no such value: {wanted}", "Use external, containers, native or auto.")


def require_engine() -> str:
    host = engine_api.reachable()
    if host is None:
        raise CannotProvide("TALLY_STACK=containers", "no engine answers", "Start one, or set DOCKER_HOST.")
    return host


class Servers:
    """The servers of one test run; each starts once, whoever asks first, and all end with `close`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.threads = ThreadPoolExecutor(3)
        self.started: dict[str, Future[Any]] = {}
        self.closing = {name: ExitStack() for name in ("postgres", "broker", "engine")}

    def begin(self, name: str) -> Future[Any]:
        """Start a server in a thread, unless it was; the result is what its method of Source returns."""
        if name not in self.started:
            start: Callable[[ExitStack], Any] = getattr(self.source, name)
            self.started[name] = self.threads.submit(start, self.closing[name])
        return self.started[name]

    def postgres(self) -> str:
        dsn: str = self.begin("postgres").result()
        return dsn

    def broker(self) -> tuple[dict[str, str], str]:
        urls: tuple[dict[str, str], str] = self.begin("broker").result()
        return urls

    def engine(self) -> tuple[str, str]:
        addresses: tuple[str, str] = self.begin("engine").result()
        return addresses

    def close(self) -> None:
        self.threads.shutdown()
        with ExitStack() as all_of_them:
            for closing in self.closing.values():
                all_of_them.callback(closing.close)
