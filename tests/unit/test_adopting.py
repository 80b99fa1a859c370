"""What a restarted worker does with containers and reports that outlived its process."""

from adapters.in_memory.containers import InMemoryContainers, Program
from domain.ports.running import Output
from tests.support import runs
from tests.support.docks import Dock, Platform, offer, offered, soon, stop, sync
from tests.support.runs import BUSYBOX, RUN


async def killed_with_a_container_running(dock: Dock) -> str:
    """A worker starts a run and dies. Returns the container's id."""
    platform = Platform(generation=3)
    async with dock.worker(platform, "first"):
        platform.tell(offer(offered(runs.SLEEP)))
        started = await platform.start()
        await dock.containers.print(RUN, Output("stdout", b"before "))
        await platform.until(lambda: platform.logs() == {"stdout": b"before "})
    assert started.container_id is not None
    return started.container_id


async def test_a_running_container_is_adopted_and_never_started_again() -> None:
    dock, platform = Dock(), Platform(generation=4)
    container = await killed_with_a_container_running(dock)

    async with dock.worker(platform, "second"):
        beat = await platform.beat(1)
        await dock.containers.end(RUN, 5)
        finish = await platform.finish()

    assert (beat.generation, [(run.run_id, run.fence, run.state) for run in beat.runs]) == (4, [(RUN, 1, "running")])
    assert (finish.container_id, finish.exit_code, finish.gone) == (container, 5, True)
    assert dock.containers.started == [RUN]


async def test_what_was_printed_while_nobody_listened_is_there_without_hole_or_repeat() -> None:
    dock, platform = Dock(), Platform(generation=4)
    await killed_with_a_container_running(dock)
    await dock.containers.print(RUN, Output("stdout", b"meanwhile "))

    async with dock.worker(platform, "second"):
        await dock.containers.print(RUN, Output("stdout", b"after"))
        await dock.containers.end(RUN, 0)
        finish = await platform.finish()
        await platform.until(lambda: platform.logs() == {"stdout": b"before meanwhile after"})

    assert finish.log is not None
    assert finish.log.bytes == len(b"before meanwhile after")


async def test_a_container_that_ended_meanwhile_is_reported_with_its_exit_code() -> None:
    dock, platform = Dock(), Platform(generation=4)
    container = await killed_with_a_container_running(dock)
    await dock.containers.end(RUN, 6)

    async with dock.worker(platform, "second"):
        finish = await platform.finish()

    assert (finish.container_id, finish.exit_code) == (container, 6)


async def test_a_report_that_was_not_heard_is_sent_after_the_restart_under_its_id() -> None:
    dock, deaf, platform = Dock(), Platform(), Platform(generation=4)
    async with dock.worker(deaf, "first"):
        deaf.tell(offer(offered(runs.SLEEP)))
        await deaf.start()
        deaf.down = True
        await dock.containers.print(RUN, Output("stdout", b"out\n"))
        await dock.containers.print(RUN, Output("stderr", b"err\n"))
        await dock.containers.end(RUN, 3)
        await soon(lambda: dock.spool.reports)
    (kept,) = dock.spool.reports.values()

    async with dock.worker(platform, "second") as worker:
        report = await platform.finish_report()
        beat = await platform.beat(1)
        await platform.until(lambda: len(platform.logs()) == 2)
        platform.tell(sync(generation=4, committed=[kept.id], logs_stored={RUN: 8}))
        await soon(lambda: not worker.orders.holdings.runs)
        await soon(dock.empty)

    assert report == kept
    assert [(run.run_id, run.state) for run in beat.runs] == [(RUN, "finished")]
    assert not dock.spool.reports
    assert dock.containers.started == [RUN]


async def test_a_container_never_seen_to_start_is_removed_and_not_started() -> None:
    dock, platform = Dock(), Platform(generation=4)
    await dock.containers.create(runs.planned(runs.TRUE))

    async with dock.worker(platform, "second"):
        await soon(dock.empty)

    assert not dock.containers.started
    assert not platform.finishes


async def test_containers_of_another_worker_are_left_alone() -> None:
    dock, platform = Dock(), Platform(generation=4)
    other = await dock.containers.create(runs.planned(runs.TRUE, worker="w2"))

    async with dock.worker(platform, "second"):
        await platform.all_obeyed()

    assert await dock.containers.inspect(other.id) == other


async def test_an_adopted_run_gives_its_result_and_heeds_stops() -> None:
    program = Program(waits=True, on_term=0, files={"/tally/r.json": b"[1]"})
    dock, platform = Dock(InMemoryContainers({runs.SLEEP: program}, [BUSYBOX])), Platform(generation=4)
    first = Platform()
    async with dock.worker(first, "first"):
        first.tell(offer(offered(runs.SLEEP, result="/tally/r.json")))
        await first.start()

    async with dock.worker(platform, "second"):
        platform.tell(stop())
        finish = await platform.finish()

    assert (finish.exit_code, finish.signal, finish.result) == (0, "TERM", [1])


async def test_an_adopted_run_that_is_ordered_to_end_again_gets_the_grace_of_that_order() -> None:
    dock, platform = Dock(), Platform(generation=4)
    await killed_with_a_container_running(dock)

    async with dock.worker(platform, "second"):
        platform.tell(stop(grace=7.0))
        platform.tell(stop(grace=60.0))
        finish = await platform.finish()

    assert (finish.exit_code, finish.signal, finish.gone) == (137, "KILL", True)
    assert 7.0 in dock.pauses.asked
    assert 60.0 not in dock.pauses.asked


async def test_the_start_of_an_adopted_run_is_told_under_the_fence_of_its_new_offer() -> None:
    dock, platform = Dock(), Platform(generation=4)
    await killed_with_a_container_running(dock)

    async with dock.worker(platform, "second"):
        platform.tell(offer(offered(runs.SLEEP, fence=2), generation=4))
        started = await platform.until(lambda: next((r for r in platform.starts if r.data.fence == 2), None))

    assert started.data.container_id is not None
    assert dock.containers.started == [RUN]
