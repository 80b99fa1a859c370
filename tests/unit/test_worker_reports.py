"""What a worker tells of its runs: on disk before it is heard, until it is committed, under the fence that counts."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from adapters.in_memory.spool import MemorySpool
from consumers.worker import SETTLE_SECONDS, SETTLE_TRIES
from domain.errors import Unavailable
from domain.messages import Message
from domain.reports import FinishReport, Heartbeat
from tests.support import runs
from tests.support.docks import Dock, Pauses, Platform, offer, offered, soon, stop, sync
from tests.support.runs import RUN


async def test_reports_are_sent_again_under_the_same_ids_until_they_are_committed() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform) as worker:
        platform.tell(offer(offered(runs.TRUE)))
        first = await platform.finish_report()
        sent = len(platform.finishes)
        dock.clock.now += 15.0
        worker.orders.beat_now.set()
        await platform.until(lambda: len(platform.finishes) > sent)
        assert {report.id for report in platform.finishes} == {first.id}
        started = (await platform.until(lambda: platform.starts))[0]
        platform.tell(sync(committed=[first.id, started.id]))
        await soon(lambda: not worker.orders.reporter.waiting)
    assert not dock.spool.reports


async def test_a_report_is_on_disk_before_it_is_heard() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.POLITE)))
        await platform.start()
        platform.down = True
        platform.tell(stop())
        await soon(lambda: bool(dock.spool.reports))
    assert not platform.finishes


async def test_the_platform_is_asked_soon_after_an_end_whether_the_container_may_go() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE)))
        await platform.finish()
        told = len(platform.published)
        await platform.until(lambda: any(one.type == Heartbeat.TYPE for one in platform.published[told:]))
    assert SETTLE_SECONDS in dock.pauses.asked


async def test_it_is_asked_again_while_the_answer_names_neither_the_end_nor_the_output() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE)))
        report = await platform.finish_report()
        ended_at = len(platform.beats)
        await platform.beat(ended_at + 3)
        platform.tell(sync(committed=[report.id]))
        await soon(dock.empty)


async def test_for_an_end_that_is_told_again_the_platform_is_not_asked_again() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform) as worker:
        platform.tell(offer(offered(runs.TRUE)))
        await platform.finish_report()
        await soon(lambda: dock.pauses.asked.count(SETTLE_SECONDS) == SETTLE_TRIES)
        told = len(platform.finishes)
        dock.clock.now += 15.0
        worker.orders.beat_now.set()
        await platform.until(lambda: len(platform.finishes) > told)
        for _ in range(100):
            await asyncio.sleep(0)
    assert dock.pauses.asked.count(SETTLE_SECONDS) == SETTLE_TRIES


async def test_once_the_container_is_gone_nothing_is_asked_any_more() -> None:
    platform, pauses = Platform(), Ended()
    dock = Dock(pauses=pauses)
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE)))
        report = await platform.finish_report()
        platform.tell(sync(committed=[report.id]))
        await soon(dock.empty)
        pauses.over.set()
        for _ in range(100):
            await asyncio.sleep(0)
    assert dock.pauses.asked.count(SETTLE_SECONDS) == 1


class Ended(Pauses):
    """Pauses after an end last until they are `over`."""

    def __init__(self) -> None:
        super().__init__()
        self.over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        await super().__call__(seconds)
        if seconds == SETTLE_SECONDS:
            await self.over.wait()


class Full(MemorySpool):
    """A disk without room."""

    async def keep(self, reports: Sequence[FinishReport]) -> None:
        raise Unavailable("no space left on device")


class ReadOnly(MemorySpool):
    """A disk from which nothing can be deleted any more."""

    async def drop(self, ids: Sequence[UUID]) -> None:
        raise Unavailable("read-only file system")


@pytest.mark.parametrize("disk", [Full, ReadOnly])
async def test_a_disk_that_fails_delays_no_report_and_keeps_no_container(disk: type[MemorySpool]) -> None:
    platform, dock = Platform(), Dock(spool=disk())
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE)))
        report = await platform.finish_report()
        platform.tell(sync(committed=[report.id]))
        await soon(dock.empty)
    assert report.data.exit_code == 0


async def test_a_container_stays_until_its_report_is_committed_and_its_output_stored() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform) as worker:
        platform.tell(offer(offered(runs.SPEAK)))
        report = await platform.finish_report()
        platform.tell(sync(logs_stored={RUN: 4}, committed=[report.id]))
        await platform.all_obeyed()
        assert len(await dock.left()) == 1
        worker.orders.beat_now.set()
        listed = (await platform.beat(len(platform.beats) + 1)).runs
        assert [(run.run_id, run.state) for run in listed] == [(RUN, "finished")]
        platform.tell(sync(logs_stored={RUN: 8}))
        await soon(dock.empty)
        assert not worker.orders.holdings.runs


async def test_a_newer_fence_of_a_run_that_is_held_is_taken_without_a_second_start() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SLEEP)))
        await platform.start()
        platform.tell(offer(offered(runs.SLEEP, fence=2)))
        await platform.until(lambda: [b for b in platform.beats if [r.fence for r in b.runs] == [2]])
        await dock.containers.end(RUN, 0)
        assert (await platform.finish()).fence == 2
    assert dock.containers.started == [RUN]


@pytest.mark.parametrize("order", [offer(offered(runs.POLITE, fence=2)), stop(fence=2)], ids=["offer", "stop"])
async def test_the_start_of_a_running_run_is_told_again_under_a_newer_fence(order: Message) -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.POLITE)))
        first = await platform.start()
        platform.tell(order)
        again = await platform.until(lambda: next((r for r in platform.starts if r.data.fence == 2), None))
    assert again.data == first.model_copy(update={"fence": 2})
    assert dock.containers.started == [RUN]


async def test_a_newer_fence_of_a_run_that_has_ended_is_answered_with_its_end() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SPEAK)))
        first = await platform.finish_report()
        platform.tell(offer(offered(runs.SPEAK, fence=2)))
        again = await platform.until(lambda: next((r for r in platform.finishes if r.data.fence == 2), None))
    assert again.id != first.id
    assert again.data.exit_code == 3
    assert dock.containers.started == [RUN]
