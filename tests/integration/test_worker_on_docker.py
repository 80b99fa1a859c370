"""A worker on a real container engine: what it reports, what it leaves, and what its death does not change."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import docker
import pytest

from adapters.docker_client import connect
from adapters.docker_config import Policy
from adapters.docker_engine import DockerEngine
from consumers.outfitting import outfit
from consumers.worker import Worker
from domain.reports import Artifact
from tests.support import runs
from tests.support.docks import Platform, offer, offered, soon, stop, sync
from tests.support.worker_process import real

pytestmark = pytest.mark.integration
COUNT = ("sh", "-c", "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i; sleep 0.01; done; exit 5")
SHOW = ("sh", "-c", "echo $TALLY_TASK_ID $TALLY_RUN_ID")


@dataclass(slots=True)
class Yard:
    """An engine, and one worker's name and disk."""

    host: str
    engine: DockerEngine
    disk: Path
    worker_id: str = field(default_factory=lambda: f"test-{uuid4()}")

    @asynccontextmanager
    async def worker(self, platform: Platform, who: str = "first") -> AsyncGenerator[Worker]:
        worker = outfit(real(platform, self.engine, self.worker_id, self.disk, who))
        task = asyncio.create_task(worker.run(asyncio.Event()))
        try:
            await platform.beat(1)
            yield worker
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def left(self) -> list[str]:
        return [found.state for found in await self.engine.labelled(runs.INSTALLATION, self.worker_id)]

    async def empty(self) -> bool:
        return not await self.left()


@pytest.fixture
async def yard(docker_host: str, tmp_path: Path) -> AsyncGenerator[Yard]:
    async with connect(docker_host, Policy(), runs=4) as engine:
        yard = Yard(docker_host, engine, tmp_path / "spool")
        yield yard
        for found in await engine.labelled(runs.INSTALLATION, yard.worker_id):
            await engine.signal(found.id, "KILL")
            await engine.ended(found.id)
            await engine.remove(found.id)


async def test_a_run_is_reported_raw_and_its_container_removed_when_all_is_committed(yard: Yard) -> None:
    platform, run = Platform(), runs.fresh_run()
    async with yard.worker(platform):
        platform.tell(offer(offered(runs.SPEAK, run)))
        report = await platform.finish_report(run)
        await platform.until(lambda: len(platform.logs(run)) == 2)
        before = await yard.left()
        platform.tell(sync(committed=[report.id], logs_stored={run: 8}))
        await soon(yard.empty)
    finish = report.data
    assert (finish.exit_code, finish.oom_killed, finish.gone, finish.error) == (3, False, True, None)
    assert platform.logs(run) == {"stdout": b"out\n", "stderr": b"err\n"}
    assert finish.image_digest is not None
    assert finish.image_digest.startswith("sha256:")
    assert before == ["exited"]


async def test_a_task_finds_its_ids_in_its_environment(yard: Yard) -> None:
    platform, run = Platform(), runs.fresh_run()
    async with yard.worker(platform):
        platform.tell(offer(offered(SHOW, run)))
        await platform.finish(run)
        await platform.until(lambda: platform.logs(run))
    assert platform.logs(run)["stdout"] == f"{runs.TASK} {run}\n".encode()


async def test_a_program_that_ignores_term_is_killed(yard: Yard) -> None:
    platform, run = Platform(), runs.fresh_run()
    async with yard.worker(platform):
        platform.tell(offer(offered(runs.STUBBORN, run)))
        await platform.until(lambda: platform.logs(run))
        platform.tell(stop(run, grace=0.2))
        finish = await platform.finish(run)
    assert (finish.exit_code, finish.signal, finish.gone) == (137, "KILL", True)


async def test_a_program_that_heeds_term_ends_by_it(yard: Yard) -> None:
    platform, run = Platform(), runs.fresh_run()
    async with yard.worker(platform):
        platform.tell(offer(offered(runs.POLITE, run)))
        await platform.until(lambda: platform.logs(run))
        platform.tell(stop(run, grace=30.0))
        finish = await platform.finish(run)
    assert (finish.exit_code, finish.signal, finish.gone) == (9, "TERM", True)


async def test_the_result_file_travels_with_the_finish(yard: Yard) -> None:
    platform, run = Platform(), runs.fresh_run()
    async with yard.worker(platform):
        platform.tell(offer(offered(runs.RESULT, run, result="/tally/result.json")))
        assert (await platform.finish(run)).result == {"rows": 3}


async def test_a_task_reads_its_input_unprivileged_and_leaves_artifacts(yard: Yard) -> None:
    """The user of the image has no rights on the folder, and its root is read-only."""
    script = (
        'test "$(cat /tally/input.json)" = "$TALLY_INPUT" && cat "$TALLY_INPUT_FILE" && echo " $1 $(id -u)" && '
        """echo '[{"name":"m","uri":"s3://b/m","sha256":"%s","bytes":7}]' > /tally/artifacts.json && """
        """echo '{"rows": 3}' > /tally/result.json""" % ("ab" * 32)
    )
    platform, run = Platform(), runs.fresh_run()
    async with yard.worker(platform):
        command = ("sh", "-c", script, "show", "$(id) {{7}}")
        result, artifacts = "/tally/result.json", "/tally/artifacts.json"
        asked = offered(command, run, result=result, artifacts=artifacts, input={"day": "Montag é"})
        platform.tell(offer(asked))
        finish = await platform.finish(run)
        await platform.until(lambda: platform.logs(run))
    assert (finish.exit_code, finish.error, finish.result) == (0, None, {"rows": 3})
    assert finish.artifacts == (Artifact(name="m", uri="s3://b/m", sha256="ab" * 32, bytes=7),)
    assert platform.logs(run)["stdout"].decode() == '{"day":"Montag é"} $(id) {{7}} 65534\n'


@pytest.mark.parametrize("instead", ["ln -s /etc/passwd", "mkdir", "mkfifo"])
async def test_a_result_that_is_no_file_fails_the_run_and_is_not_followed(yard: Yard, instead: str) -> None:
    platform, run = Platform(), runs.fresh_run()
    command = ("sh", "-c", f"rm /tally/result.json; {instead} /tally/result.json")
    async with yard.worker(platform):
        platform.tell(offer(offered(command, run, result="/tally/result.json")))
        finish = await platform.finish(run)
    assert (finish.exit_code, finish.result, finish.error and finish.error.code) == (0, None, "result-invalid")


async def test_an_image_that_cannot_be_had_is_pull_failed(yard: Yard) -> None:
    platform, run = Platform(), runs.fresh_run()
    async with yard.worker(platform):
        platform.tell(offer(offered(runs.TRUE, run, image="localhost:1/none:1")))
        finish = await platform.finish(run)
    assert finish.error is not None
    assert (finish.error.code, finish.container_id, finish.exit_code) == ("pull-failed", None, None)


async def test_a_container_that_was_created_by_half_is_removed(yard: Yard) -> None:
    platform, run = Platform(), runs.fresh_run()
    async with yard.worker(platform):
        platform.tell(offer(offered(runs.TRUE, run, result="/tally/" + "x" * 300)))
        report = await platform.finish_report(run)
        before = await yard.left()
        platform.tell(sync(committed=[report.id]))
        await soon(yard.empty)
    assert (report.data.exit_code, report.data.container_id, before) == (None, None, ["created"])


async def test_a_worker_killed_in_the_middle_finds_the_same_container_and_every_line(yard: Yard) -> None:
    platform, run = Platform(generation=4), runs.fresh_run()
    arguments = (yard.host, yard.worker_id, str(yard.disk), str(run), *COUNT)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.worker_process", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    container = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()
    process.kill()
    await process.wait()
    before = _inspected(yard.host, container)

    async with yard.worker(platform, "second"):
        finish = await platform.finish(run)
        await platform.until(lambda: platform.logs(run).get("stdout", b"").endswith(b"line 400\n"))

    after = _inspected(yard.host, container)
    assert before["State"]["Running"]
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    assert (finish.container_id, finish.exit_code, finish.gone) == (container, 5, True)
    assert platform.logs(run)["stdout"] == b"".join(b"line %d\n" % n for n in range(1, 401))
    assert finish.log is not None
    assert finish.log.bytes == len(platform.logs(run)["stdout"])


def _inspected(host: str, container: str) -> dict[str, Any]:
    client = cast("Any", docker.APIClient(base_url=host))
    try:
        found: dict[str, Any] = client.inspect_container(container)
        return found
    finally:
        client.close()
