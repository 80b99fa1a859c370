"""compose.yaml brings up the whole system from images made here, and it runs a task."""

import json
import secrets
import subprocess
import sysconfig
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pika
import pytest

from infra.dev import engine_api, server_images
from infra.dev.children import free_ports
from infra.dev.folders import DEV
from tests.support.stack import Servers
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
COMPOSE = Path(sysconfig.get_path("scripts")) / "docker-compose"
PASSWORD = "only-for-this-test"


@dataclass(frozen=True, slots=True)
class Composed:
    """The running system: `compose` runs one of its commands, `amqp_url` is the client account's."""

    compose: Callable[..., str]
    amqp_url: str


@pytest.fixture(scope="module")
def images(docker_host: str) -> Iterator[None]:
    made = server_images.ensure(docker_host)
    yield
    if not docker_host.startswith(f"unix://{DEV}"):
        for name in made:
            engine_api.remove_image(docker_host, name)


@pytest.fixture(scope="module")
def composed(
    images: None, servers: Servers, docker_host: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composed]:
    address = servers.engine()[1]
    amqp, management, issuer, api = free_ports(4)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path_factory.mktemp("home")),
        "DOCKER_HOST": docker_host,
        "COMPOSE_PROJECT_NAME": f"tallyport-{secrets.token_hex(3)}",
        "TALLY_BIND": "127.0.0.1" if address == "127.0.0.1" else "0.0.0.0",
        "TALLY_AMQP_PORT": str(amqp),
        "TALLY_MANAGEMENT_PORT": str(management),
        "TALLY_ISSUER_PORT": str(issuer),
        "TALLY_API_PORT": str(api),
        "TALLY_PASSWORD": PASSWORD,
        "TALLY_DOCKER_SOCKET": docker_host.removeprefix("unix://"),
        "TALLY_IMAGE_POSTGRES": server_images.POSTGRES,
        "TALLY_IMAGE_RABBITMQ": server_images.RABBITMQ,
        "TALLY_IMAGE_APP": server_images.APP,
        "TALLY_IMAGE_BUSYBOX": "tallyport/busybox:dev",
    }

    def run(*words: str) -> str:
        command = [str(COMPOSE), *words]
        told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert told.returncode == 0, f"{words}: {told.stderr[-2000:]}\n{logs(environment)}"
        return told.stdout

    run("up", "-d", "--wait", "--wait-timeout", "240", "--pull", "never", "--no-build")
    yield Composed(run, f"amqp://client:{PASSWORD}@{address}:{amqp}/tally")
    run("down", "-v", "--timeout", "5")


def logs(environment: dict[str, str]) -> str:
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
