"""How the container engine is reached: one client for the life of a worker, shared by its threads."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from docker import APIClient
from docker.utils import kwargs_from_env

from adapters.docker_config import Policy
from adapters.docker_engine import CALL_SECONDS, CALLS, DockerEngine
from adapters.docker_errors import EngineErrors
from adapters.threads import Threads


@asynccontextmanager
async def connect(url: str | None, policy: Policy, runs: int) -> AsyncGenerator[DockerEngine, None]:
    """The engine at `url` (None: at DOCKER_HOST or the default socket), for as long as the block lasts.

    `runs`: how many containers may be followed at once. Raises EngineDown, EngineTimeout.
    """
    threads = Threads(1, "engine connect")
    with EngineErrors().of("connect", {}, otherwise=None):
        client = await threads.call(_open, url, runs)
        info = await threads.call(client.info)
    try:
        yield DockerEngine(client, info, policy, runs)
    finally:
        client.close()


def _open(url: str | None, runs: int) -> Any:
    where: dict[str, Any] = {**kwargs_from_env()} if url is None else {"base_url": url}
    return APIClient(version="auto", timeout=CALL_SECONDS, max_pool_size=CALLS + 2 * runs + 8, **where)
