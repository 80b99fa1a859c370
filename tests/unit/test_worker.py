"""What a worker does with offers, stops and syncs: given twins of the engine, the disk and the platform."""

import asyncio
from collections.abc import Callable

import pytest

from adapters.in_memory.containers import InMemoryContainers, Program
from consumers.outfitting import outfit
from domain.errors import CannotRun, WorkerIdTaken
from domain.ids import derived_id
from domain.messages import Message
from domain.ports.running import Found, Output, Planned
from domain.reports import RunError
from tests.support import runs
from tests.support.docks import Dock, Platform, offer, offered, soon, stop, sync
from tests.support.runs import BUSYBOX, RUN, TASK

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


async def test_a_run_is_listed_in_a_beat_as_soon_as_it_is_offered() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SLEEP)))
        beat = await platform.beat(2)
    assert [(run.run_id, run.fence) for run in beat.runs] == [(RUN, 1)]


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
        platform.down = True
        platform.tell(offer(offered(runs.TRUE)))
        await soon(lambda: bool(dock.spool.reports))
    assert not platform.finishes


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


async def test_a_start_without_an_answer_is_looked_into_and_never_repeated() -> None:
    platform, dock = Platform(), Dock()
    dock.containers.start_times_out = True
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SPEAK)))
        finish = await platform.finish()
    assert (finish.exit_code, finish.gone) == (3, True)
    assert dock.containers.started == [RUN]


async def test_an_engine_that_stays_away_fails_a_run_that_has_not_started() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        dock.containers.down = True
        platform.tell(offer(offered(runs.TRUE)))
        finish = await platform.finish()
    assert finish.error is not None
    assert (finish.error.code, finish.container_id) == ("engine-down", None)


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
    await asyncio.wait_for(task, 5)
    assert platform.logs(OTHER) == {"stdout": b"out\n", "stderr": b"err\n"}
    assert [c.state for c in await dock.left()] == ["running", "exited"]


async def test_output_is_followed_while_it_comes() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SLEEP)))
        await platform.start()
        await dock.containers.print(RUN, Output("stdout", b"one"))
        await platform.until(lambda: platform.logs() == {"stdout": b"one"})
        await dock.containers.print(RUN, Output("stdout", b"two"))
        await platform.until(lambda: platform.logs() == {"stdout": b"onetwo"})
