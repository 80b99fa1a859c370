"""Containers whose end the engine tells in an order of its own."""

from datetime import timedelta
from typing import Any

import pytest

from adapters.docker_config import Policy
from adapters.docker_engine import DockerEngine
from domain.ports.running import Found
from tests.support import runs
from tests.support.raw_engine import client, worker

__all__ = ["client", "worker"]

pytestmark = pytest.mark.integration
KILLED = ("sh", "-c", "exit 137")


class Hasty:
    """The engine's client; the engine has put down each exit before it heard that memory had run out."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def inspect_container(self, id: str) -> dict[str, Any]:
        told: dict[str, Any] = self._client.inspect_container(id)
        return {**told, "State": {**told["State"], "OOMKilled": False}}


async def end(client: Any, worker: str, command: tuple[str, ...]) -> Found | None:
    engine = DockerEngine(Hasty(client), client.info(), Policy(), runs=1)
    await engine.ensure_image(runs.BUSYBOX, timedelta(seconds=10))
    made = await engine.create(runs.planned(command, worker=worker, run=runs.fresh_run(), memory="16Mi"))
    await engine.start(made.id, lambda: None)
    return await engine.ended(made.id)


@pytest.mark.parametrize(("command", "for_memory"), [(runs.HUNGRY, True), (KILLED, False)])
async def test_a_container_killed_for_memory_says_so_though_the_engine_told_of_its_exit_first(
    client: Any, worker: str, command: tuple[str, ...], for_memory: bool
) -> None:
    found = await end(client, worker, command)

    assert found is not None
    assert (found.state, found.exit_code, found.oom_killed) == ("exited", 137, for_memory)
