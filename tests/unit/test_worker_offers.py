"""Which offers a worker takes, and until when: given twins of the engine, the disk and the platform."""

import asyncio
from collections.abc import Callable

from adapters.in_memory.containers import InMemoryContainers
from domain.ids import derived_id
from tests.support import runs
from tests.support.docks import Dock, Platform, offer, offered, soon, sync
from tests.support.runs import BUSYBOX, RUN, TASK

OTHER = derived_id(TASK, "run:other")


async def test_all_noop_runs_of_an_offer_end_in_one_message_and_leave_nothing_on_disk() -> None:
    platform, dock = Platform(), Dock()
    many = [derived_id(TASK, f"run:{n}") for n in range(100)]
    async with dock.worker(platform):
        platform.tell(offer(*(offered(run=run, executor="noop") for run in many)))
        await platform.finish(many[-1])
    (message,) = platform.messages
    assert [report.data.run_id for report in message.reports] == many
    assert {report.data.exit_code for report in platform.finishes} == {0}
    assert {report.data.container_id for report in platform.finishes} == {None}
    assert not dock.spool.reports


async def test_a_run_is_listed_in_a_beat_as_soon_as_it_is_offered() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SLEEP)))
        beat = await platform.beat(2)
    assert [(run.run_id, run.fence) for run in beat.runs] == [(RUN, 1)]


async def test_no_container_is_started_before_a_beat_that_lists_its_run_was_answered() -> None:
    platform, dock = Platform(), Dock()
    platform.hears = False
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE)))
        beat = await platform.beat(2)
        await soon(dock.left)
        await platform.all_obeyed()
        assert not dock.containers.started
        platform.tell(sync(beat.beat, valid=[RUN]))
        await platform.finish()
    assert dock.containers.started == [RUN]


async def test_a_run_of_which_no_beat_was_heard_in_time_is_given_back_unstarted() -> None:
    platform, dock = Platform(), Dock()
    platform.hears = False
    async with dock.worker(platform) as worker:
        platform.tell(offer(offered(runs.TRUE)))
        await soon(dock.left)
        dock.clock.now += 10.0
        await soon(lambda: not worker.orders.holdings.runs)
        await soon(dock.empty)
    assert not dock.containers.started


async def test_an_offer_whose_time_is_over_is_not_taken() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        dock.clock.now += 10.0
        platform.tell(offer(offered(runs.TRUE, within=10.0)))
        platform.tell(offer(offered(runs.TRUE, OTHER, within=10.1)))
        await platform.finish(OTHER)
    assert dock.containers.started == [OTHER]


async def test_an_offer_that_names_a_beat_long_forgotten_is_not_taken() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE, beat=0)))
        platform.tell(offer(offered(runs.TRUE, OTHER)))
        await platform.finish(OTHER)
    assert dock.containers.started == [OTHER]


async def test_an_offer_to_an_old_generation_is_not_taken() -> None:
    platform, dock = Platform(generation=3), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE), generation=2))
        platform.tell(offer(offered(runs.TRUE, OTHER)))
        await platform.finish(OTHER)
    assert dock.containers.started == [OTHER]


async def test_an_offer_that_is_repeated_starts_one_container() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE)))
        report = await platform.finish_report()
        platform.tell(offer(offered(runs.TRUE)))
        platform.tell(sync(committed=[report.id]))
        await platform.all_obeyed()
        platform.tell(offer(offered(runs.TRUE)))
        platform.tell(offer(offered(runs.TRUE, OTHER)))
        await platform.finish(OTHER)
    assert dock.containers.started == [RUN, OTHER]


async def test_a_run_whose_time_ends_while_its_image_is_fetched_is_given_back_unstarted() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform) as worker:
        platform.tell(offer(offered(runs.TRUE, image="late:1")))
        await dock.containers.pulling.wait()
        dock.clock.now += 10.0
        dock.containers.pulled.set()
        await soon(lambda: not worker.orders.holdings.runs)
        await soon(dock.empty)
    assert not dock.containers.started
    assert not platform.finishes


class Queued(InMemoryContainers):
    """An engine whose calls wait for each other: the start's turn comes when the test says so."""

    def __init__(self) -> None:
        super().__init__(runs.PROGRAMS, [BUSYBOX])
        self.waiting, self.turn = asyncio.Event(), asyncio.Event()

    async def start(self, id: str, last_look: Callable[[], None]) -> None:
        self.waiting.set()
        await self.turn.wait()
        await super().start(id, last_look)


async def test_a_run_whose_time_ends_while_its_start_waits_for_other_calls_is_given_back_unstarted() -> None:
    engine = Queued()
    platform, dock = Platform(), Dock(engine)
    async with dock.worker(platform) as worker:
        platform.tell(offer(offered(runs.TRUE)))
        await engine.waiting.wait()
        dock.clock.now += 10.0
        engine.turn.set()
        await soon(lambda: not worker.orders.holdings.runs)
        await soon(dock.empty)
    assert not dock.containers.started
    assert not platform.finishes


async def test_an_offer_that_names_a_recent_beat_is_taken_however_many_beats_came_since() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform) as worker:
        for _ in range(100):
            await worker.beat()
        platform.tell(offer(offered(runs.TRUE, beat=1)))
        await platform.finish()
    assert dock.containers.started == [RUN]


async def test_an_offer_that_names_a_beat_of_half_a_minute_ago_is_not_taken() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform) as worker:
        dock.clock.now += 30.1
        await worker.beat()
        platform.tell(offer(offered(runs.TRUE, beat=1, within=60.0)))
        platform.tell(offer(offered(runs.TRUE, OTHER, beat=2)))
        await platform.finish(OTHER)
    assert dock.containers.started == [OTHER]


async def test_a_beat_that_is_answered_gives_a_run_that_fetches_its_image_more_time() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform) as worker:
        platform.tell(offer(offered(runs.TRUE, image="late:1")))
        await dock.containers.pulling.wait()
        dock.clock.now += 9.0
        before = len(platform.beats)
        worker.orders.beat_now.set()
        beat = await platform.beat(before + 1)
        platform.tell(sync(beat=beat.beat, valid=[RUN]))
        await platform.all_obeyed()
        dock.clock.now += 9.0
        dock.containers.pulled.set()
        assert (await platform.finish()).exit_code == 0


async def test_an_answer_to_a_beat_that_did_not_list_the_run_gives_no_time() -> None:
    platform, dock = Platform(), Dock()
    platform.hears = False
    async with dock.worker(platform) as worker:
        platform.tell(offer(offered(runs.TRUE, image="late:1")))
        await dock.containers.pulling.wait()
        dock.clock.now += 9.0
        platform.tell(sync(beat=1, valid=[RUN]))
        await platform.all_obeyed()
        dock.clock.now += 1.0
        dock.containers.pulled.set()
        await soon(lambda: not worker.orders.holdings.runs)
    assert not dock.containers.started


async def test_a_container_bears_the_fence_that_its_run_has_when_it_is_created() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE, image="late:1")))
        await dock.containers.pulling.wait()
        platform.tell(offer(offered(runs.TRUE, image="late:1", fence=2)))
        await platform.until(lambda: [b for b in platform.beats if [r.fence for r in b.runs] == [2]])
        dock.containers.pulled.set()
        await platform.finish()
        [found] = await dock.left()
    assert found.labels.fence == 2


async def test_no_more_containers_run_at_once_than_there_are_slots() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform, slots=1):
        platform.tell(offer(offered(runs.SLEEP), offered(runs.TRUE, OTHER)))
        await platform.start()
        await platform.all_obeyed()
        assert dock.containers.started == [RUN]
        await dock.containers.end(RUN, 0)
        await platform.finish(OTHER)
    assert dock.containers.started == [RUN, OTHER]
