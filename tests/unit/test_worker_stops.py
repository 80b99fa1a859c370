"""What a worker does when a run is to end, before its start and after."""

from domain.ids import derived_id
from domain.reports import RunError
from tests.support import runs
from tests.support.docks import Dock, Platform, offer, offered, stop, sync
from tests.support.runs import RUN, TASK

OTHER = derived_id(TASK, "run:other")


async def test_a_stop_ends_the_container_with_term_and_the_finish_says_so() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.POLITE)))
        await platform.start()
        platform.tell(stop())
        finish = await platform.finish()
    assert (finish.exit_code, finish.signal, finish.gone, finish.error) == (9, "TERM", True, None)


async def test_a_program_that_ignores_term_is_killed_after_the_grace() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.STUBBORN)))
        await platform.start()
        platform.tell(stop(grace=7.0))
        finish = await platform.finish()
    assert (finish.exit_code, finish.signal, finish.gone) == (137, "KILL", True)
    assert 7.0 in dock.pauses.asked


async def test_a_run_that_a_sync_stops_gets_its_own_stop_timeout() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.STUBBORN)))
        await platform.start()
        platform.tell(sync(stop=[RUN]))
        await platform.finish()
    assert 10.0 in dock.pauses.asked


async def test_a_run_stopped_before_its_start_never_starts() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE, image="late:1")))
        await dock.containers.pulling.wait()
        platform.tell(stop())
        finish = await platform.finish()
        dock.containers.pulled.set()
        platform.tell(offer(offered(runs.TRUE, image="late:1")))
        platform.tell(offer(offered(runs.TRUE, OTHER)))
        await platform.finish(OTHER)
    assert finish.error == RunError(code="stopped-before-start", detail=finish.error.detail if finish.error else "")
    assert (finish.gone, finish.container_id) == (True, None)
    assert dock.containers.started == [OTHER]


async def test_a_run_stopped_while_it_waits_for_a_slot_never_starts() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform, slots=1):
        platform.tell(offer(offered(runs.SLEEP)))
        await platform.start()
        platform.tell(offer(offered(runs.TRUE, OTHER)))
        platform.tell(stop(OTHER))
        finish = await platform.finish(OTHER)
    assert finish.error is not None
    assert finish.error.code == "stopped-before-start"
    assert dock.containers.started == [RUN]


async def test_a_stop_of_a_run_not_held_is_answered_once_and_its_offer_comes_too_late() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(stop())
        platform.tell(stop())
        platform.tell(offer(offered(runs.TRUE)))
        platform.tell(offer(offered(runs.TRUE, OTHER)))
        await platform.finish(OTHER)
    mine = [report.data for report in platform.finishes if report.data.run_id == RUN]
    assert [(finish.error and finish.error.code, finish.gone) for finish in mine] == [("not-held", True)]
    assert dock.containers.started == [OTHER]
