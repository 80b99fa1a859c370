"""The servers as containers, by testcontainers: for machines with an engine and the two images."""

import os
import secrets
from collections.abc import Mapping
from contextlib import ExitStack

from infra.dev import engine_api, images
from infra.dev.broker_users import ADMIN, CLIENT, NAMES, PLATFORM, WORKER
from tests.support.broker import Management
from tests.support.waiting import amqp_answers, postgres_answers, until

LABEL = "tallyport.test"
VHOST = "tally"


def image(name: str, default: str) -> str:
    return os.environ.get(f"TALLY_IMAGE_{name}", default)


def postgres_image() -> str:
    return image("POSTGRES", "postgres:18-alpine")


def rabbitmq_image() -> str:
    return image("RABBITMQ", "rabbitmq:4-management")


def has_images(host: str) -> bool:
    return all(engine_api.has_image(host, name) for name in (postgres_image(), rabbitmq_image()))


class Containers:
    """A container a server, on the engine at `host`; published ports are reached at `address`."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.address = os.environ.get("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
        self.session = secrets.token_hex(4)
        os.environ.update(DOCKER_HOST=host, TESTCONTAINERS_RYUK_DISABLED="true", TC_POOLING_INTERVAL="0.1")

    def postgres(self, closing: ExitStack) -> str:
        port = self.run(closing, postgres_image(), 5432, {"POSTGRES_HOST_AUTH_METHOD": "trust"})[5432]
        dsn = f"postgresql://postgres@{self.address}:{port}/postgres"
        until(lambda: postgres_answers(dsn), f"{postgres_image()} accepts connections", 60)
        return dsn

    def broker(self, closing: ExitStack) -> tuple[dict[str, str], str]:
        passwords = {name: secrets.token_urlsafe(12) for name in NAMES}
        account = {"RABBITMQ_DEFAULT_USER": ADMIN, "RABBITMQ_DEFAULT_PASS": passwords[ADMIN]}
        ports = self.run(closing, rabbitmq_image(), 5672, account, 15672)
        until(lambda: amqp_answers(self.address, ports[5672]), f"{rabbitmq_image()} speaks AMQP", 90)
        url = f"http://{ADMIN}:{passwords[ADMIN]}@{self.address}:{ports[15672]}"
        management = Management(url)
        for name in set(NAMES) - {ADMIN}:
            management.call("PUT", f"/users/{name}", {"password": passwords[name], "tags": ""})
        management.add_vhost(VHOST)
        users = (PLATFORM, WORKER, CLIENT)
        return {u: f"amqp://{u}:{passwords[u]}@{self.address}:{ports[5672]}/{VHOST}" for u in users}, url

    def engine(self, closing: ExitStack) -> tuple[str, str]:
        for name in images.ensure(self.host):
            closing.callback(engine_api.remove_image, self.host, name)
        return self.host, self.address

    def run(self, closing: ExitStack, name: str, port: int, env: Mapping[str, str], *ports: int) -> dict[int, int]:
        """Start a container of image `name`; returns the host port of each of its ports."""
        from testcontainers.core.container import DockerContainer

        container = DockerContainer(name).with_exposed_ports(port, *ports)
        container.with_kwargs(labels={LABEL: self.session})
        for key, value in env.items():
            container.with_env(key, value)
        container.start()
        closing.callback(container.stop)
        return {inside: int(container.get_exposed_port(inside)) for inside in (port, *ports)}
