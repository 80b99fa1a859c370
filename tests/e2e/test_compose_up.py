"""compose.yaml brings up the whole system from images made here, and it runs a task."""

import json
import subprocess
import sysconfig
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest

from infra.dev import docker_engine, server_images
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
COMPOSE = Path(sysconfig.get_path("scripts")) / "docker-compose"
PASSWORD = "only-for-this-test"
Compose = Callable[..., str]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[docker_engine.Running]:
    """An engine of its own, so that no published port meets another's."""
    with docker_engine.start_private(tmp_path_factory.mktemp("engine")) as running:
        server_images.ensure(running.host)
        yield running


@pytest.fixture(scope="module")
def compose(engine: docker_engine.Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path_factory.mktemp("home")),
        "DOCKER_HOST": engine.host,
        "TALLY_BIND": "0.0.0.0",
        "TALLY_PASSWORD": PASSWORD,
        "TALLY_DOCKER_SOCKET": engine.host.removeprefix("unix://"),
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
    yield run
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


def test_a_task_published_to_the_composed_system_succeeds(engine: docker_engine.Running, compose: Compose) -> None:
    publish(f"amqp://client:{PASSWORD}@{engine.address}:5672/tally", "hello")

    query = "SELECT convert_from(state, 'UTF8') FROM events WHERE topic = 'task.succeeded.v1'"

    def succeeded() -> bool:
        return "hello" in compose(
            "exec", "-T", "postgres", "psql", "-h", "/tmp", "-U", "postgres", "-d", "tally", "-Atc", query
        )

    until(succeeded, "the task has succeeded", 60)
