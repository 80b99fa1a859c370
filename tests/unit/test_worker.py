"""A worker as a process: it registers, beats, runs nothings, and ends without ending what it runs."""

import asyncio

import pytest

from consumers.outfitting import outfit
from domain.errors import WorkerIdTaken
from domain.ids import derived_id
from tests.support import runs
from tests.support.docks import Dock, Platform, offer, offered, sync
from tests.support.runs import RUN, TASK

OTHER = derived_id(TASK, "run:other")


async def test_a_worker_beats_with_the_generation_that_its_registration_opened() -> None:
    platform = Platform(generation=7)
    async with Dock().worker(platform):
        beat = await platform.beat(1)
    assert (beat.generation, beat.beat, beat.runs) == (7, 1, ())
    assert platform.published[0].reply_to == "task.work.w1"


async def test_a_registration_that_is_not_heard_is_sent_again_under_the_same_id() -> None:
    platform, dock = Platform(), Dock()
    platform.down = True

    async def up_again(seconds: float) -> None:
        platform.down = False

    worker = outfit(dock.given(platform))
    worker.orders.registration.pause = up_again
    task = asyncio.create_task(worker.run(asyncio.Event()))
    await platform.beat(1)
    task.cancel()
    assert len({m.id for m in platform.published if m.type == "worker.register.v1"}) == 1


async def test_a_refused_registration_ends_the_worker() -> None:
    platform = Platform()
    platform.refuses = True
    with pytest.raises(WorkerIdTaken):
        await outfit(Dock().given(platform)).run(asyncio.Event())


async def test_a_noop_run_is_listed_only_when_its_report_stays_uncommitted() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform) as worker:
        platform.tell(offer(offered(executor="noop")))
        await platform.finish()
        await worker.beat()
        dock.clock.now += 5.0
        await worker.beat()
    assert [[(run.run_id, run.state) for run in beat.runs] for beat in platform.beats[-2:]] == [[], [(RUN, "finished")]]
    assert [len(beat.reports) for beat in platform.beats[-2:]] == [1, 1]


async def test_a_newer_generation_is_asked_for_when_the_platform_says_so() -> None:
    platform, dock = Platform(generation=3), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SLEEP)))
        await platform.start()
        platform.generation = 4
        platform.tell(sync(generation=4, beat=len(platform.beats), register_again=True))
        beat = await platform.until(lambda: next((b for b in platform.beats if b.generation == 4), None))
    assert [(run.run_id, run.state) for run in beat.runs] == [(RUN, "running")]
    assert dock.containers.started == [RUN]


async def test_a_worker_that_is_told_to_end_leaves_its_containers_running_and_says_what_it_knows() -> None:
    platform, dock, end = Platform(), Dock(), asyncio.Event()
    worker = outfit(dock.given(platform))
    task = asyncio.create_task(worker.run(end))
    await platform.beat(1)
    platform.tell(offer(offered(runs.SLEEP), offered(runs.SPEAK, OTHER)))
    await platform.start()
    await platform.finish(OTHER)
    end.set()
    await asyncio.wait_for(task, 20)
    assert platform.logs(OTHER) == {"stdout": b"out\n", "stderr": b"err\n"}
    assert [c.state for c in await dock.left()] == ["running", "exited"]
