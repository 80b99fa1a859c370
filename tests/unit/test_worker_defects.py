"""A defect met by one run is that run's end, and nobody else's."""

from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest

from adapters.in_memory.containers import InMemoryContainers
from consumers.finishing import gone_wrong, read_result
from consumers.holdings import Held
from domain.errors import CannotRun
from domain.ids import derived_id
from domain.ports.running import Output
from tests.support import runs
from tests.support.docks import Dock, Platform, offer, offered, soon, sync
from tests.support.runs import BUSYBOX, RUN, TASK

OTHER = derived_id(TASK, "run:other")


class Faulty(InMemoryContainers):
    """Breaks in a way nobody has foreseen: at the image `broken:1`, and whenever output is asked for if `mute`."""

    def __init__(self, mute: bool = False) -> None:
        super().__init__(runs.PROGRAMS, [BUSYBOX])
        self.mute = mute

    async def ensure_image(self, image: str, within: timedelta) -> str | None:
        if image == "broken:1":
            raise ZeroDivisionError
        return await super().ensure_image(image, within)

    async def output(self, id: str) -> AsyncGenerator[Output, None]:
        if self.mute:
            raise ZeroDivisionError
        async for piece in super().output(id):
            yield piece


async def test_a_defect_before_the_start_fails_the_run_and_the_next_one_runs() -> None:
    platform, dock = Platform(), Dock(containers=Faulty())
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE, image="broken:1")))
        finish = await platform.finish()
        platform.tell(offer(offered(runs.TRUE, run=OTHER)))
        other = await platform.finish(OTHER)

    assert finish.error is not None
    assert (finish.error.code, finish.error.detail) == ("worker-error", "ZeroDivisionError")
    assert (finish.container_id, finish.gone) == (None, True)
    assert other.exit_code == 0


async def test_a_defect_after_the_start_does_not_say_that_the_container_is_gone_and_its_container_is_ended() -> None:
    platform, dock = Platform(), Dock(containers=Faulty(mute=True))
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SLEEP)))
        report = await platform.finish_report()
        [there] = await dock.left()
        platform.tell(sync(committed=[report.id]))
        await soon(dock.empty)

    assert report.data.error is not None
    assert report.data.error.code == "worker-error"
    assert (report.data.container_id, report.data.gone, report.data.exit_code) == (there.id, False, None)


@pytest.mark.parametrize(("state", "container", "gone"), [("pulling", None, True), ("running", "c1", False)])
def test_only_a_container_that_was_started_may_run_on(state: str, container: str | None, gone: bool) -> None:
    held = Held(TASK, RUN, 1, container="c1")
    held.state = "running" if state == "running" else "pulling"

    told = gone_wrong(held, ZeroDivisionError("by 0"))

    assert (told.container_id, told.gone) == (container, gone)


@pytest.mark.parametrize("data", [None, b"", b" \n"])
def test_no_result_file_and_an_empty_one_are_no_result(data: bytes | None) -> None:
    assert read_result(data) is None


@pytest.mark.parametrize(("data", "value"), [(b'{"rows": 3}', {"rows": 3}), (b"[1]", [1]), (b"7", 7), (b"null", None)])
def test_a_result_is_any_json(data: bytes, value: object) -> None:
    assert read_result(data) == value


@pytest.mark.parametrize("data", [b"\xff", b"{'a'}", b'"\\ud800"', b'"\\u0000"', b"1e999", b"[" * 100_000])
def test_a_result_that_the_history_cannot_hold_fails_the_run(data: bytes) -> None:
    with pytest.raises(CannotRun) as caught:
        read_result(data)

    assert (caught.value.code, len(caught.value.detail) <= 300) == ("result-invalid", True)
