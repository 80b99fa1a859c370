"""Containers that were created by half, or by somebody else."""

from datetime import timedelta
from typing import Any

import pytest
from requests.exceptions import ReadTimeout

from adapters.docker_config import Policy, name_of
from adapters.docker_engine import DockerEngine
from domain.errors import CannotRun, EngineTimeout
from domain.ports.running import Planned
from tests.support import runs
from tests.support.raw_engine import client, worker

__all__ = ["client", "worker"]

pytestmark = pytest.mark.integration
RESULT = "/tally/result.json"
WITHIN = timedelta(seconds=10)


class CutOff:
    """The engine's client; its first transfer of a file does not come through."""

    def __init__(self, client: Any) -> None:
        self._client, self.cuts = client, 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_archive(self, id: str, folder: str, data: bytes) -> bool:
        self.cuts -= 1
        if self.cuts >= 0:
            raise ReadTimeout
        return bool(self._client.put_archive(id, folder, data))


async def planned(engine: DockerEngine, worker: str, result: str) -> Planned:
    await engine.ensure_image(runs.BUSYBOX, WITHIN)
    return runs.planned(runs.RESULT, worker=worker, run=runs.fresh_run(), result=result)


async def test_a_creation_that_was_cut_off_is_completed_when_it_is_asked_for_again(client: Any, worker: str) -> None:
    engine = DockerEngine(CutOff(client), client.info(), Policy(), runs=1)
    plan = await planned(engine, worker, RESULT)
    with pytest.raises(EngineTimeout):
        await engine.create(plan)

    found = await engine.create(plan)

    await engine.start(found.id, runs.nothing_against_it)
    ended = await engine.ended(found.id)
    assert ended is not None
    assert ended.exit_code == 0
    assert await engine.read_file(found.id, RESULT) == b'{"rows": 3}\n'


async def test_a_result_in_memory_that_ends_with_the_container_is_refused(client: Any, worker: str) -> None:
    engine = DockerEngine(client, client.info(), Policy(), runs=1)
    with pytest.raises(CannotRun) as caught:
        await engine.create(await planned(engine, worker, "/tmp/result.json"))
    assert caught.value.code == "container-refused"
    assert "/tmp" in caught.value.detail
    assert await engine.labelled(runs.INSTALLATION, worker) == []


async def test_a_container_with_some_of_our_labels_is_not_taken_for_ours(client: Any, worker: str) -> None:
    engine = DockerEngine(client, client.info(), Policy(), runs=1)
    await engine.ensure_image(runs.BUSYBOX, WITHIN)
    labels = {"tally.installation": str(runs.INSTALLATION), "tally.worker": worker}
    client.create_container(runs.BUSYBOX, ["true"], labels=labels)
    own = await engine.create(await planned(engine, worker, RESULT))

    found = await engine.labelled(runs.INSTALLATION, worker)

    assert [one.id for one in found] == [own.id]


async def test_anothers_container_of_a_runs_name_is_a_clash(client: Any, worker: str) -> None:
    engine = DockerEngine(client, client.info(), Policy(), runs=1)
    plan = await planned(engine, worker, RESULT)
    client.create_container(runs.BUSYBOX, ["true"], name=name_of(plan.labels.run), labels={"tally.worker": worker})
    with pytest.raises(CannotRun) as caught:
        await engine.create(plan)
    assert caught.value.code == "name-clash"
