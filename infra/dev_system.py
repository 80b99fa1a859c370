"""`tally dev`: servers, schema, topology and every process of the platform, kept until Ctrl-C."""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from domain.errors import TallyportError
from infra.dev import docker_engine, images, postgres, rabbitmq
from infra.dev.children import accepts, free_ports, start_time
from infra.dev.folders import made
from infra.dev_file import NAME, DevSystem, running_in
from infra.settings import Settings
from infra.system import CONSUMERS, Addresses, System

PROCESSES = ("issuer", "api", *CONSUMERS, "worker")
LOOK_SECONDS = 0.5
ACCOUNTS: tuple[str, ...] = ("tally", "worker", "client")
OURS = frozenset({"postgres", "rabbitmq", "engine", "system", "token.json", NAME})


class CannotStart(TallyportError):
    """`tally dev` does not start here; says what to do."""


def run(settings: Settings, fresh: bool) -> int:
    """Bring everything up, say how to use it, and keep it until SIGINT or SIGTERM. Raises CannotStart, DevError."""
    folder, began = settings.dev.folder.resolve(), time.monotonic()
    if (other := running_in(folder)) is not None:
        raise CannotStart(f"tally dev runs in {folder} already (pid {other.pid}): end it, or set TALLY_DEV__FOLDER")
    if fresh:
        empty(folder)
    up, stop = Event(), Event()
    with ExitStack() as contexts:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: ended(up, stop))
        _say(f"starting servers in {folder}")
        addresses, management = contexts.enter_context(servers(settings, made(folder, 0o700)))
        *ports, metrics = ports_near(settings.api.port, settings.issuer.port, settings.metrics.port)
        extra = environment(settings, metrics)
        system = contexts.enter_context(System(addresses, folder / "system", extra, {}, *ports))
        _say("migrating, declaring, starting processes")
        system.prepare()
        system.start(*PROCESSES)
        system.wait_ready()
        dev = described(system, management, f"http://{settings.metrics.host}:{metrics}/metrics")
        contexts.callback(dev.write(folder).unlink, missing_ok=True)
        contexts.callback(_say, "stopping")
        greet(dev, settings, time.monotonic() - began)
        up.set()
        watch(system, stop)
    return 0


def ended(up: Event, stop: Event) -> None:
    """On a signal: stop in order what is up, else give up starting. Raises KeyboardInterrupt."""
    stop.set()
    if not up.is_set():
        raise KeyboardInterrupt


@contextmanager
def servers(settings: Settings, folder: Path) -> Generator[tuple[Addresses, str]]:
    """PostgreSQL and RabbitMQ as set, else our own; a container engine that is here, else our own.

    Yields their addresses and the broker's management API ("" for one that was set).
    """
    database, broker = settings.database.owner_url or settings.database.url, settings.amqp.url
    given = "url" in settings.amqp.model_fields_set
    with ExitStack() as contexts, ThreadPoolExecutor(3) as threads:
        engine_started = threads.submit(docker_engine.start, folder / "engine")
        broker_started = None if given else threads.submit(rabbitmq.start, folder / "rabbitmq")
        database_started = None if database else threads.submit(postgres.start, folder / "postgres")
        for started in (engine_started, broker_started, database_started):
            if started is not None and started.exception() is None:
                contexts.callback(started.result().stop)
        engine = engine_started.result()
        if not engine.private:
            contexts.callback(_remove_images, engine.host, images.ensure(engine.host))
        else:
            images.ensure(engine.host)
        node = broker_started.result() if broker_started else None
        url = broker.get_secret_value()
        amqp: dict[str, str] = node.urls() if node else dict.fromkeys(ACCOUNTS, url)
        dsn = database_started.result().dsn if database_started else database.get_secret_value() if database else ""
        yield Addresses(dsn, amqp, engine.host), node.management_url if node else ""


def environment(settings: Settings, metrics: int) -> dict[str, str]:
    """What the processes are told beside their addresses. `metrics`: the port for them, if they are on."""
    told = {"TALLY_LOG__FORMAT": "json", "TALLY_OTEL__SAMPLE": "1"}
    if settings.metrics.enabled:
        told |= {"TALLY_METRICS__ENABLED": "true", "TALLY_METRICS__PORT": str(metrics)}
    return told


def described(system: System, management: str, metrics: str) -> DevSystem:
    """What `dev.json` says."""
    secrets = json.loads((system.folder / "issuer" / "clients.json").read_text())
    return DevSystem(
        pid=os.getpid(),
        started=start_time(os.getpid()) or 0,
        api_url=system.api_url,
        issuer_url=system.issuer_url,
        client_id="admin",
        client_secret=secrets["admin"],
        amqp_url=system.addresses.amqp["client"],
        database_url=system.addresses.as_role("tally_app"),
        database_owner_url=system.addresses.database,
        management_url=management,
        metrics_url=metrics if "TALLY_METRICS__ENABLED" in system.extra else "",
        docker_host=system.addresses.docker_host,
    )


def greet(dev: DevSystem, settings: Settings, seconds: float) -> None:
    """How to use it, on stdout."""
    from infra.client import bearer_of
    from infra.login import Login

    for moved in ports_moved(dev, settings):
        _say(moved)
    user = Login(dev.api_url, dev.issuer_url, dev.client_id, dev.client_secret)
    token = asyncio.run(bearer_of(user, settings.dev.folder / "token.json").token())
    sys.stdout.write("\n".join(greeting(dev, token, seconds)))
    sys.stdout.flush()


def ports_moved(dev: DevSystem, settings: Settings) -> list[str]:
    """What is not where it was wished."""
    ports = (
        (settings.api.port, dev.api_url),
        (settings.issuer.port, dev.issuer_url),
        (settings.metrics.port, dev.metrics_url),
    )
    return [
        f"port {wished} is taken: {url} instead"
        for wished, url in ports
        if wished and url and urlsplit(url).port != wished
    ]


def greeting(dev: DevSystem, token: str | None, seconds: float) -> list[str]:
    """The lines that say what is where."""
    return [
        f"tally dev is up ({seconds:.1f} s)",
        f"  API       {dev.api_url}  (described at /openapi.json)",
        f"  AMQP      {dev.amqp_url}",
        f"  database  {dev.database_owner_url}",
        f"  issuer    {dev.issuer_url}",
        *([f"  metrics   {dev.metrics_url}"] if dev.metrics_url else []),
        f"  token     {token}",
        "",
        "In another terminal, in this folder:",
        "  tally run --wait tallyport/busybox:dev echo hello",
        "",
    ]


def watch(system: System, stop: Event) -> None:
    """Until told to end; a process that has ended by itself is started again, and said so."""
    while not stop.wait(LOOK_SECONDS):
        for name, child in list(system.children.items()):
            if child.poll() is not None:
                _say(f"{name} ended ({child.returncode}) and is started again; see {system.folder / name}.log")
                system.start(name)


def empty(folder: Path) -> None:
    """Remove what `tally dev` keeps there. Raises CannotStart if other things lie there."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set[str]()
    if others := sorted(there - OURS):
        raise CannotStart(f"{folder} holds {others[0]}, which is not ours: remove it, or set TALLY_DEV__FOLDER")
    shutil.rmtree(folder, ignore_errors=True)


def ports_near(*wished: int) -> list[int]:
    """For each the port itself, or the next that nobody listens on and that is not of another; 0: any free one."""
    found: list[int] = []
    for port, other in zip(wished, free_ports(len(wished)), strict=True):
        near = (one for one in range(port, 65_536) if one not in found and not accepts(one))
        found.append(next(near) if port else other)
    return found


def _remove_images(host: str, made_now: list[str]) -> None:
    from infra.dev import engine_api

    for name in made_now:
        engine_api.remove_image(host, name)


def _say(text: str) -> None:
    sys.stderr.write(f"tally dev: {text}\n")
    sys.stderr.flush()
