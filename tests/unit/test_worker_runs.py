"""A run in a container: started once, followed, and reported as it ended."""

import pytest

from adapters.in_memory.containers import InMemoryContainers, Program
from domain.errors import CannotRun, EngineTimeout
from domain.ids import derived_id
from domain.ports.running import Found, Output, Planned
from domain.reports import Artifact
from tests.support import runs
from tests.support.docks import Dock, Platform, offer, offered, soon, sync
from tests.support.runs import BUSYBOX, RUN, TASK

OTHER = derived_id(TASK, "run:other")


async def test_a_run_in_a_container_is_started_followed_and_reported_raw() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SPEAK)))
        finish = await platform.finish()
        await platform.until(lambda: len(platform.logs()) == 2)
    started = await platform.start()
    assert (finish.exit_code, finish.oom_killed, finish.signal, finish.gone, finish.error) == (
        3,
        False,
        None,
        True,
        None,
    )
    assert finish.container_id == started.container_id is not None
    assert finish.image_digest == started.image_digest == f"sha256:{BUSYBOX}"
    assert platform.logs() == {"stdout": b"out\n", "stderr": b"err\n"}
    assert finish.log is not None
    assert finish.log.bytes == 8
    assert dock.containers.started == [RUN]


async def test_an_image_that_does_not_come_in_its_time_is_pull_failed() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE, image="never:1", pull=0.01)))
        finish = await platform.finish()
    assert finish.error is not None
    assert (finish.error.code, finish.exit_code, finish.container_id) == ("pull-failed", None, None)


class Pruned(InMemoryContainers):
    """An engine that someone prunes between the look for an image and the creation of a container."""

    pruned = False

    async def create(self, planned: Planned) -> Found:
        if not self.pruned:
            self.pruned = True
            self.images.clear()
            self.pulled.set()
            raise CannotRun("image-not-found", "pruned")
        return await super().create(planned)


async def test_an_image_that_is_gone_when_it_is_needed_is_fetched_again() -> None:
    platform, dock = Platform(), Dock(Pruned(runs.PROGRAMS, [BUSYBOX]))
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE)))
        finish = await platform.finish()
    assert (finish.exit_code, finish.error) == (0, None)
    assert dock.containers.pulling.is_set()


async def test_a_command_that_is_not_there_is_reported_and_its_container_removed() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.MISSING)))
        report = await platform.finish_report()
        platform.tell(sync(committed=[report.id]))
        await soon(dock.empty)
    assert report.data.error is not None
    assert (report.data.error.code, report.data.exit_code) == ("bad-command", None)


async def test_a_run_out_of_memory_says_so() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.HUNGRY)))
        finish = await platform.finish()
    assert (finish.exit_code, finish.oom_killed) == (137, True)


async def test_the_result_file_travels_with_the_finish() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.RESULT, result="/tally/result.json")))
        assert (await platform.finish()).result == {"rows": 3}


@pytest.mark.parametrize("data", [b"{", b'{"a": 1, "a": 2}', b"NaN", b'1},"x":{"r":1', b"[" * 20 + b"]" * 20])
async def test_a_result_that_is_no_clean_json_fails_the_run(data: bytes) -> None:
    containers = InMemoryContainers({runs.TRUE: Program(files={"/r": data})}, [BUSYBOX])
    platform, dock = Platform(), Dock(containers)
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE, result="/r")))
        finish = await platform.finish()
    assert (finish.exit_code, finish.result) == (0, None)
    assert finish.error is not None
    assert finish.error.code == "result-invalid"


LISTED = (
    b'[{"name": "m", "uri": "s3://b/m", "sha256": "' + b"ab" * 32 + b'", "bytes": 7},'
    b' {"name": "n", "uri": "file:///n", "sha256": "' + b"cd" * 32 + b'", "bytes": 0}]'
)


def leaving(**files: bytes) -> Dock:
    named = {f"/{name}": data for name, data in files.items()}
    return Dock(InMemoryContainers({runs.TRUE: Program(files=named)}, [BUSYBOX]))


async def test_artifacts_travel_with_the_finish_beside_the_result() -> None:
    platform, dock = Platform(), leaving(r=b"[1]", a=LISTED)
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE, result="/r", artifacts="/a")))
        finish = await platform.finish()
    assert (finish.error, finish.result) == (None, [1])
    assert finish.artifacts == (
        Artifact(name="m", uri="s3://b/m", sha256="ab" * 32, bytes=7),
        Artifact(name="n", uri="file:///n", sha256="cd" * 32, bytes=0),
    )


@pytest.mark.parametrize("data", [b"", b" \n", b"[]"])
async def test_a_list_of_no_artifacts_is_none(data: bytes) -> None:
    platform, dock = Platform(), leaving(a=data)
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE, artifacts="/a")))
        finish = await platform.finish()
    assert (finish.error, finish.artifacts) == (None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"{}",
        b"7",
        b'[{"name": "m"}]',
        LISTED.replace(b'"n"', b'"m"'),
        LISTED.replace(b"s3://b/m", b"b/m"),
        LISTED.replace(b"ab" * 32, b"AB" * 32),
        LISTED.replace(b'"bytes": 7', b'"bytes": -1'),
        LISTED.replace(b'"bytes": 7', b'"bytes": "7"'),
        LISTED.replace(b'"bytes": 7', b'"bytes": 7, "more": 1'),
        b"["
        + b",".join(LISTED[1:-1].replace(b'"m"', b'"m%d"' % n).replace(b'"n"', b'"n%d"' % n) for n in range(51))
        + b"]",
    ],
)
async def test_a_list_of_artifacts_that_is_none_fails_the_run(data: bytes) -> None:
    platform, dock = Platform(), leaving(a=data)
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE, artifacts="/a")))
        finish = await platform.finish()
    assert finish.error is not None
    assert (finish.error.code, finish.exit_code, finish.artifacts) == ("artifacts-invalid", 0, None)


@pytest.mark.parametrize(("path", "code"), [("result", "result-too-large"), ("artifacts", "artifacts-too-large")])
async def test_a_file_that_is_too_large_fails_the_run_with_its_own_code(path: str, code: str) -> None:
    platform, dock = Platform(), leaving(f=b" " * 65_537)
    async with dock.worker(platform):
        asked = offered(runs.TRUE, result="/f") if path == "result" else offered(runs.TRUE, artifacts="/f")
        platform.tell(offer(asked))
        finish = await platform.finish()
    assert finish.error is not None
    assert finish.error.code == code


async def test_a_container_is_given_its_input_as_a_file_and_in_its_environment() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE, input={"day": "Montag, é", "rows": [1, None]})))
        await platform.finish()
    (planned,) = dock.containers.planned
    text = '{"day":"Montag, é","rows":[1,null]}'
    assert planned.input == text.encode()
    assert (planned.env["TALLY_INPUT"], planned.env["TALLY_INPUT_FILE"]) == (text, "/tally/input.json")


async def test_a_container_without_an_input_is_told_of_none() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE)))
        await platform.finish()
    (planned,) = dock.containers.planned
    assert planned.input is None
    assert not {"TALLY_INPUT", "TALLY_INPUT_FILE"} & set(planned.env)


async def test_a_bad_result_fails_a_run_that_got_over_the_killing_of_a_process_for_memory() -> None:
    containers = InMemoryContainers({runs.TRUE: Program(files={"/r": b"{"}, oom_killed=True)}, [BUSYBOX])
    platform, dock = Platform(), Dock(containers)
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE, result="/r")))
        finish = await platform.finish()
    assert (finish.exit_code, finish.oom_killed) == (0, True)
    assert finish.error is not None
    assert finish.error.code == "result-invalid"


async def test_a_start_without_an_answer_is_looked_into_and_never_repeated() -> None:
    platform, dock = Platform(), Dock()
    dock.containers.start_times_out = True
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SPEAK)))
        finish = await platform.finish()
    assert (finish.exit_code, finish.gone) == (3, True)
    assert dock.containers.started == [RUN]


async def test_an_engine_that_stays_away_is_told_as_the_reason_why_a_run_was_not_started() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        dock.containers.down = True
        platform.tell(offer(offered(runs.TRUE)))
        finish = await platform.finish()
    assert finish.error is not None
    assert (finish.error.code, finish.container_id) == ("engine-down", None)


async def _only(dock: Dock, found: Found) -> bool:
    return await dock.left() == [found]


class Unanswering(InMemoryContainers):
    """An engine that creates containers and never says so."""

    async def create(self, planned: Planned) -> Found:
        await super().create(planned)
        raise EngineTimeout("create: no answer")


async def test_a_container_whose_creation_was_never_answered_is_removed_when_the_end_is_committed() -> None:
    platform, dock = Platform(), Dock(Unanswering(runs.PROGRAMS, [BUSYBOX]))
    async with dock.worker(platform):
        other = await InMemoryContainers.create(dock.containers, runs.planned(runs.TRUE, run=OTHER))
        platform.tell(offer(offered(runs.TRUE)))
        report = await platform.finish_report()
        assert len(await dock.left()) == 2
        platform.tell(sync(committed=[report.id]))
        await soon(lambda: _only(dock, other))
    assert report.data.error is not None
    assert (report.data.error.code, dock.containers.started) == ("engine-timeout", [])


async def test_output_is_followed_while_it_comes() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SLEEP)))
        await platform.start()
        await dock.containers.print(RUN, Output("stdout", b"one"))
        await platform.until(lambda: platform.logs() == {"stdout": b"one"})
        await dock.containers.print(RUN, Output("stdout", b"two"))
        await platform.until(lambda: platform.logs() == {"stdout": b"onetwo"})
