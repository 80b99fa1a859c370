"""What every container engine promises the worker."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from adapters.docker_client import connect
from adapters.docker_config import Policy
from adapters.in_memory.containers import InMemoryContainers
from consumers.starting import TooLate
from domain.errors import CannotRun
from domain.ports.running import Containers, Found, Output, Planned
from tests.support import runs

WITHIN = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine and a worker's name of this test's own."""

    containers: Containers
    worker: str = field(default_factory=lambda: f"test-{uuid4()}")

    def planned(self, command: tuple[str, ...], **more: object) -> Planned:
        return runs.planned(command, worker=self.worker, **{"run": runs.fresh_run(), **more})  # type: ignore[arg-type]

    async def created(self, command: tuple[str, ...], **more: object) -> Found:
        await self.containers.ensure_image(runs.BUSYBOX, WITHIN)
        return await self.containers.create(self.planned(command, **more))

    async def started(self, command: tuple[str, ...], **more: object) -> Found:
        found = await self.created(command, **more)
        await self.containers.start(found.id, runs.nothing_against_it)
        return found

    async def ended(self, command: tuple[str, ...], **more: object) -> Found:
        found = await self.containers.ended((await self.started(command, **more)).id)
        assert found is not None
        return found

    async def printed(self, id: str) -> dict[str, bytes]:
        streams = {"stdout": b"", "stderr": b""}
        async for piece in self.containers.output(id):
            streams[piece.stream] += piece.data
        return streams

    async def until_ready(self, id: str) -> None:
        async with aclosing(self.containers.output(id)) as output:
            async for piece in output:
                if piece == Output("stdout", b"ready\n"):
                    return


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.integration)])
async def engine(request: pytest.FixtureRequest) -> AsyncGenerator[Engine]:
    if request.param == "memory":
        yield Engine(InMemoryContainers(runs.PROGRAMS, [runs.BUSYBOX]))
        return
    async with connect(request.getfixturevalue("docker_host"), Policy(), runs=4) as docker:
        engine = Engine(docker)
        yield engine
        for found in await docker.labelled(runs.INSTALLATION, engine.worker):
            await docker.signal(found.id, "KILL")
            await docker.ended(found.id)
            assert await docker.remove(found.id)


async def test_exit_code_and_both_streams_come_back_raw(engine: Engine) -> None:
    found = await engine.ended(runs.SPEAK)
    assert (found.state, found.exit_code, found.oom_killed) == ("exited", 3, False)
    assert await engine.printed(found.id) == {"stdout": b"out\n", "stderr": b"err\n"}


async def test_output_asked_for_again_begins_again(engine: Engine) -> None:
    found = await engine.ended(runs.SPEAK)
    assert await engine.printed(found.id) == await engine.printed(found.id)


async def test_a_container_that_took_too_much_memory_says_so(engine: Engine) -> None:
    found = await engine.ended(runs.HUNGRY, memory="16Mi")
    assert found.oom_killed


async def test_an_engine_that_is_there_answers_a_ping(engine: Engine) -> None:
    await engine.containers.ping()


async def test_an_image_has_a_digest(engine: Engine) -> None:
    digest = await engine.containers.ensure_image(runs.BUSYBOX, WITHIN)
    assert digest is not None
    assert digest.startswith("sha256:")


async def test_an_image_that_cannot_be_fetched_in_its_time_is_pull_failed(engine: Engine) -> None:
    with pytest.raises(CannotRun) as caught:
        await engine.containers.ensure_image("localhost:1/none:1", timedelta(seconds=1))
    assert caught.value.code == "pull-failed"


async def test_a_container_of_an_image_that_is_not_there_is_not_created(engine: Engine) -> None:
    with pytest.raises(CannotRun) as caught:
        await engine.containers.create(engine.planned(runs.TRUE, image="localhost:1/none:1"))
    assert caught.value.code == "image-not-found"


async def test_a_network_needs_leave(engine: Engine) -> None:
    with pytest.raises(CannotRun) as caught:
        await engine.containers.create(engine.planned(runs.TRUE, network="host"))
    assert caught.value.code == "network-not-allowed"


async def test_a_command_that_is_not_there_is_a_bad_command(engine: Engine) -> None:
    with pytest.raises(CannotRun) as caught:
        await engine.started(runs.MISSING)
    assert caught.value.code == "bad-command"


async def test_what_the_last_look_raises_comes_out_and_nothing_is_started(engine: Engine) -> None:
    found = await engine.created(runs.TRUE)

    def too_late() -> None:
        raise TooLate

    with pytest.raises(TooLate):
        await engine.containers.start(found.id, too_late)
    assert (await _now(engine, found)).state == "created"


async def test_created_twice_it_is_the_same_container(engine: Engine) -> None:
    plan = engine.planned(runs.SLEEP)
    first = await engine.containers.create(plan)
    assert await engine.containers.create(plan) == replace(first, image=(await _now(engine, first)).image)


async def test_a_started_container_is_taken_over_as_it_is(engine: Engine) -> None:
    plan = engine.planned(runs.SPEAK)
    first = await engine.containers.create(plan)
    await engine.containers.start(first.id, runs.nothing_against_it)
    await engine.containers.ended(first.id)
    again = await engine.containers.create(plan)
    assert (again.id, again.state, again.exit_code) == (first.id, "exited", 3)


async def test_a_container_never_started_makes_room_for_the_next_fence(engine: Engine) -> None:
    plan = engine.planned(runs.TRUE)
    old = await engine.containers.create(plan)
    new = await engine.containers.create(replace(plan, labels=replace(plan.labels, fence=2)))
    assert (new.id != old.id, new.labels.fence) == (True, 2)
    assert await engine.containers.inspect(old.id) is None


async def test_a_container_that_was_started_never_makes_room(engine: Engine) -> None:
    plan = engine.planned(runs.TRUE)
    old = await engine.containers.create(plan)
    await engine.containers.start(old.id, runs.nothing_against_it)
    with pytest.raises(CannotRun) as caught:
        await engine.containers.create(replace(plan, labels=replace(plan.labels, fence=2)))
    assert caught.value.code == "name-clash"
    assert await engine.containers.inspect(old.id) is not None


async def test_anothers_container_of_that_name_is_a_clash(engine: Engine) -> None:
    plan = engine.planned(runs.TRUE)
    await engine.containers.create(plan)
    with pytest.raises(CannotRun) as caught:
        await engine.containers.create(replace(plan, labels=replace(plan.labels, worker="another")))
    assert caught.value.code == "name-clash"


async def test_term_reaches_a_program_that_heeds_it(engine: Engine) -> None:
    found = await engine.started(runs.POLITE)
    await engine.until_ready(found.id)
    await engine.containers.signal(found.id, "TERM")
    ended = await engine.containers.ended(found.id)
    assert ended is not None
    assert ended.exit_code == 9


async def test_kill_ends_a_program_that_ignores_term(engine: Engine) -> None:
    found = await engine.started(runs.STUBBORN)
    await engine.until_ready(found.id)
    await engine.containers.signal(found.id, "TERM")
    await engine.containers.signal(found.id, "KILL")
    ended = await engine.containers.ended(found.id)
    assert ended is not None
    assert ended.exit_code == 137


async def test_signals_to_what_has_ended_or_gone_change_nothing(engine: Engine) -> None:
    found = await engine.ended(runs.TRUE)
    await engine.containers.signal(found.id, "KILL")
    assert (await _now(engine, found)).exit_code == 0
    await engine.containers.remove(found.id)
    await engine.containers.signal(found.id, "KILL")


async def test_a_running_container_is_not_removed(engine: Engine) -> None:
    found = await engine.started(runs.SLEEP)
    assert not await engine.containers.remove(found.id)
    assert (await _now(engine, found)).state == "running"


async def test_removed_is_gone_and_can_be_asked_for_again(engine: Engine) -> None:
    found = await engine.ended(runs.TRUE)
    assert await engine.containers.remove(found.id)
    assert await engine.containers.remove(found.id)
    assert await engine.containers.inspect(found.id) is None
    assert await engine.containers.ended(found.id) is None


async def test_the_result_file_can_be_read_when_it_has_ended(engine: Engine) -> None:
    found = await engine.ended(runs.RESULT, result="/tally/result.json")
    assert found.exit_code == 0
    assert await engine.containers.read_file(found.id, "/tally/result.json") == b'{"rows": 3}\n'


async def test_a_file_that_is_not_there_is_none(engine: Engine) -> None:
    found = await engine.ended(runs.TRUE)
    assert await engine.containers.read_file(found.id, "/tally/result.json") is None


async def test_a_result_beyond_the_limit_is_refused(engine: Engine) -> None:
    found = await engine.ended(runs.LARGE_RESULT, result="/tally/result.json")
    with pytest.raises(CannotRun) as caught:
        await engine.containers.read_file(found.id, "/tally/result.json")
    assert caught.value.code == "result-too-large"


async def test_a_list_of_artifacts_beyond_the_limit_is_refused_as_such(engine: Engine) -> None:
    found = await engine.ended(runs.LARGE_RESULT, artifacts="/tally/result.json")
    with pytest.raises(CannotRun) as caught:
        await engine.containers.read_file(found.id, "/tally/result.json", "artifacts")
    assert caught.value.code == "artifacts-too-large"


async def test_result_and_artifacts_can_lie_in_one_folder_and_in_two(engine: Engine) -> None:
    for artifacts in ("/tally/artifacts.json", "/srv/out/artifacts.json"):
        found = await engine.ended(runs.RESULT, result="/tally/result.json", artifacts=artifacts)
        assert await engine.containers.read_file(found.id, "/tally/result.json") == b'{"rows": 3}\n'


async def test_a_container_finds_its_input_with_and_without_a_result(engine: Engine) -> None:
    for result in (None, "/tally/result.json", "/srv/result.json"):
        found = await engine.ended(runs.SHOW_INPUT, input=b'{"day":"Monday"}', result=result)
        assert (found.exit_code, await engine.printed(found.id)) == (
            0,
            {"stdout": b'{"day":"Monday"}', "stderr": b""},
        )


async def test_its_input_can_be_read_by_a_user_without_rights(engine: Engine) -> None:
    found = await engine.ended(runs.SHOW_INPUT_AS, input=b'{"day":"Monday"}')
    assert (await engine.printed(found.id))["stdout"] == b'65534\n{"day":"Monday"}'


async def test_labels_find_every_container_of_a_worker_and_no_other(engine: Engine) -> None:
    running, created = await engine.started(runs.SLEEP), await engine.created(runs.TRUE)
    listed = await engine.containers.labelled(runs.INSTALLATION, engine.worker)
    assert {c.id: c.state for c in listed} == {running.id: "running", created.id: "created"}
    assert {c.labels for c in listed} == {running.labels, created.labels}
    assert not await engine.containers.labelled(UUID(int=7), engine.worker)


async def _now(engine: Engine, found: Found) -> Found:
    now = await engine.containers.inspect(found.id)
    assert now is not None
    return now
