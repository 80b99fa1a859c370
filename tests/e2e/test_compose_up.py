"""The page on bare machines brings up compose.yaml's whole system from images made here, and it runs a task."""

import json
import os
import secrets
import subprocess
import sysconfig
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pika
import pytest

from infra.dev import engine_api, images, server_images
from infra.dev.children import free_ports
from infra.dev.folders import DEV
from tests.support.pages import ROOT, blocks
from tests.support.stack import Servers
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
COMPOSE = Path(sysconfig.get_path("scripts")) / "docker-compose"
PAGE = "docs/how-to/bare-machine.md"
IMAGES = (images.BUSYBOX, images.PYTHON, server_images.POSTGRES, server_images.RABBITMQ, server_images.APP)
PASSWORD = "only-for-this-test"
Environment: TypeAlias = dict[str, str]


@dataclass(frozen=True, slots=True)
class Composed:
    """The running system: `compose` runs one of its commands, `amqp_url` is the client account's."""

    compose: Callable[..., str]
    amqp_url: str


@pytest.fixture(scope="module")
def environment(servers: Servers, docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A terminal with a `docker compose` of its own project and ports. Images that were missing are removed after."""
    folder = tmp_path_factory.mktemp("compose")
    (folder / "docker").write_text(f'#!/bin/sh\nshift\nexec {COMPOSE} "$@"\n')
    (folder / "docker").chmod(0o755)
    amqp, management, issuer, api = free_ports(4)
    missing = [name for name in IMAGES if not engine_api.has_image(docker_host, name)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    yield {
        **kept,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "HOME": str(folder),
        "DOCKER_HOST": docker_host,
        "COMPOSE_PROJECT_NAME": f"tallyport-{secrets.token_hex(3)}",
        "TALLY_BIND": "127.0.0.1" if servers.engine()[1] == "127.0.0.1" else "0.0.0.0",
        "TALLY_AMQP_PORT": str(amqp),
        "TALLY_MANAGEMENT_PORT": str(management),
        "TALLY_ISSUER_PORT": str(issuer),
        "TALLY_API_PORT": str(api),
        "TALLY_PASSWORD": PASSWORD,
        "TALLY_DOCKER_SOCKET": docker_host.removeprefix("unix://"),
    }
    if not docker_host.startswith(f"unix://{DEV}"):
        for name in missing:
            engine_api.remove_image(docker_host, name)


@pytest.fixture(scope="module")
def composed(servers: Servers, environment: Environment) -> Iterator[Composed]:
    def run(*words: str) -> str:
        return typed(environment, str(COMPOSE), *words)

    try:
        typed(environment, "bash", "-euo", "pipefail", "-c", blocks(PAGE, "sh")[1].text)
        host, port = servers.engine()[1], environment["TALLY_AMQP_PORT"]
        yield Composed(run, f"amqp://client:{PASSWORD}@{host}:{port}/tally")
    finally:
        run("down", "-v", "--timeout", "5")


def typed(environment: Environment, *words: str) -> str:
    told = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert told.returncode == 0, f"{words}: {told.stderr[-2000:]}\n{logs(environment)}"
    return told.stdout


def logs(environment: Environment) -> str:
    command = [str(COMPOSE), "logs", "--no-color", "--tail", "20"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False).stdout


def publish(url: str, task_id: str) -> None:
    """`task.submit.v1` with the smallest body, as a user's client would."""
    body = {"task_id": task_id, "container": {"image": "tallyport/busybox:dev", "command": ["echo", "hello"]}}
    properties = pika.BasicProperties(
        message_id=str(uuid.uuid4()), type="task.submit.v1", content_type="application/json", user_id="client"
    )
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("task.commands", "task.submit.default", json.dumps(body), properties, mandatory=True)


def test_a_task_published_to_the_composed_system_succeeds(composed: Composed) -> None:
    publish(composed.amqp_url, "hello")

    query = "SELECT convert_from(state, 'UTF8') FROM events WHERE topic = 'task.succeeded.v1'"
    asking = ("exec", "-T", "postgres", "psql", "-h", "/tmp", "-U", "postgres", "-d", "tally", "-Atc", query)
    until(lambda: "hello" in composed.compose(*asking), "the task has succeeded", 60)
