"""All three servers at once, written down in `.dev/stack.json` for whoever wants to use or end them."""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from infra.dev import docker_engine, engine_api, images, postgres, rabbitmq
from infra.dev.children import end, start_time
from infra.dev.folders import DEV, made

FILE = DEV / "stack.json"
DATA = DEV / "data"
Started = TypeVar("Started")


@dataclass(slots=True)
class Stack:
    """Running servers. `seconds` says how long each took; `made_images` are those this start made."""

    postgres: postgres.Running
    rabbitmq: rabbitmq.Running
    engine: docker_engine.Running
    seconds: dict[str, float] = field(default_factory=dict)
    made_images: list[str] = field(default_factory=list)

    def stop(self, throw_away: bool = False) -> None:
        """End all three; a throw-away broker is killed, which saves the 6 s of its orderly stop."""
        with ExitStack() as stack:
            stack.callback(self.postgres.stop)
            stack.callback(self.rabbitmq.kill if throw_away else self.rabbitmq.stop)
            stack.callback(self.engine.stop)
            if not self.engine.private:
                for name in self.made_images:
                    engine_api.remove_image(self.engine.host, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(throw_away=True)

    def as_json(self) -> dict[str, Any]:
        """Addresses and processes. Passwords are in the URLs: the file is its owner's alone."""
        kept = {"postgres": self.postgres.kept, "rabbitmq": self.rabbitmq.kept, "engine": self.engine.kept}
        return {
            "postgres_url": self.postgres.dsn,
            "amqp_urls": self.rabbitmq.urls(),
            "management_url": self.rabbitmq.management_url,
            "docker_host": self.engine.host,
            "engine_address": self.engine.address,
            "made_images": [] if self.engine.private else self.made_images,
            "keepers": {name: [k.keeper_pid, k.started] for name, k in kept.items() if k},
            "seconds": self.seconds,
        }


def up(folder: Path = DATA, fsync: bool = True, owned: bool = True) -> Stack:
    """Start PostgreSQL, RabbitMQ and the engine side by side on `folder`. If one fails, none is left."""
    seconds = dict[str, float]()
    with ThreadPoolExecutor(3) as threads, ExitStack() as started:
        database = threads.submit(
            timed, "postgres", seconds, lambda: postgres.start(folder / "postgres", fsync=fsync, owned=owned)
        )
        broker = threads.submit(timed, "rabbitmq", seconds, lambda: rabbitmq.start(folder / "rabbitmq", owned=owned))
        engine = threads.submit(timed, "engine", seconds, lambda: docker_engine.start(folder / "engine", owned=owned))
        futures: tuple[Future[Any], ...] = (database, broker, engine)
        for future in futures:
            started.callback(stop_if_started, future)
        made_images = timed("images", seconds, lambda: images.ensure(engine.result().host))
        stack = Stack(database.result(), broker.result(), engine.result(), seconds, made_images)
        started.pop_all()
    return stack


def timed(name: str, seconds: dict[str, float], start: Callable[[], Started]) -> Started:
    began = time.monotonic()
    result = start()
    seconds[name] = round(time.monotonic() - began, 2)
    return result


def stop_if_started(future: Future[Any]) -> None:
    if future.exception() is None:
        future.result().stop()


def up_and_say() -> int:
    """Start a stack that outlives this process, and print how to reach it."""
    if running():
        print(f"already up; see {FILE}")
        return 0
    stack = up(owned=False)
    write(stack)
    json.dump({name: value for name, value in stack.as_json().items() if name != "keepers"}, sys.stdout, indent=2)
    print()
    return 0


def write(stack: Stack) -> None:
    made(FILE.parent)
    FILE.touch(mode=0o600)
    FILE.write_text(json.dumps(stack.as_json(), indent=2))


def running() -> dict[str, tuple[int, int]]:
    """Keepers of the written stack that still run: name -> pid and start time."""
    if not FILE.exists():
        return {}
    keepers: dict[str, tuple[int, int]] = json.loads(FILE.read_text())["keepers"]
    return {name: (pid, started) for name, (pid, started) in keepers.items() if start_time(pid) == started}


def down_and_say(seconds: float = 30) -> int:
    """End the written stack: only the processes it started, found by pid and start time."""
    keepers = running()
    for name, (pid, started) in keepers.items():
        if name == "engine":
            engine_api.remove_all_containers(json.loads(FILE.read_text())["docker_host"])
        end(pid, started)
    deadline = time.monotonic() + seconds
    while (left := running()) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        print(f"still running after {seconds:.0f} s: {left}", file=sys.stderr)
        return 1
    remove_made_images()
    FILE.unlink(missing_ok=True)
    print(f"down: {', '.join(keepers) or 'nothing was up'}")
    return 0


def remove_made_images() -> None:
    """Remove the images added to an engine that was here before."""
    if not FILE.exists():
        return
    written: dict[str, Any] = json.loads(FILE.read_text())
    for name in written["made_images"]:
        engine_api.remove_image(written["docker_host"], name)


def status() -> int:
    keepers = running()
    for name, (pid, _) in keepers.items():
        print(f"{name}\tup\tpid {pid}")
    if not keepers:
        print("nothing is up")
    return 0
