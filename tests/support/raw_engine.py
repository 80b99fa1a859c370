"""The engine's own client, for tests that stand between it and the platform's."""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import docker
import pytest


@pytest.fixture
async def client(docker_host: str) -> AsyncGenerator[Any]:
    client: Any = docker.APIClient(base_url=docker_host)
    yield client
    client.close()


@pytest.fixture
async def worker(client: Any) -> AsyncGenerator[str]:
    """A worker's name; what it leaves is removed."""
    name = f"test-{uuid4()}"
    yield name
    for one in client.containers(all=True, filters={"label": f"tally.worker={name}"}):
        client.remove_container(one["Id"], v=True, force=True)
