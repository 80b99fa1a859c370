"""What a worker does when a run is to end, before its start and after."""

import asyncio
from datetime import timedelta

import pytest

from domain.events import TaskCancelled, TaskSubmitted
from domain.ids import derived_id
from domain.reports import RunError
from domain.retrying import is_loss
from domain.specs import TaskSpec
from domain.task import decide
from domain.task_states import Cancelling, Facts, Lease
from tests.support import runs
from tests.support.docks import Dock, Pauses, Platform, offer, offered, soon, stop, sync
from tests.support.ended_tasks import NOW
from tests.support.runs import RUN, TASK

SUBMITTED = TaskSubmitted(task_id="T1", spec=TaskSpec(executor="noop"))
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


class Patient(Pauses):
    """Pauses of a minute or more do not end."""

    def __init__(self) -> None:
        super().__init__()
        self.long = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        await super().__call__(seconds)
        if seconds >= 60:
            self.long.set()
            await asyncio.Event().wait()


async def test_of_further_stops_only_a_shorter_grace_counts() -> None:
    platform, dock = Platform(), Dock()
    dock.pauses = pauses = Patient()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.STUBBORN)))
        await platform.start()
        platform.tell(stop(grace=60.0))
        await pauses.long.wait()
        platform.tell(stop(grace=0.25))
        platform.tell(stop(grace=90.0))
        finish = await platform.finish()
    assert (finish.exit_code, finish.signal) == (137, "KILL")
    assert [seconds for seconds in pauses.asked if seconds in (60.0, 0.25, 90.0)] == [60.0, 0.25]


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


@pytest.mark.parametrize("syncs", [1, 2])
async def test_a_run_whose_lease_is_gone_before_its_start_is_given_back_and_taken_again_under_its_next_fence(
    syncs: int,
) -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform) as worker:
        platform.tell(offer(offered(runs.TRUE, image="late:1")))
        await dock.containers.pulling.wait()
        for _ in range(syncs):
            platform.tell(sync(stop=[RUN]))
        await soon(lambda: not worker.orders.holdings.runs)
        dock.containers.pulled.set()
        platform.tell(offer(offered(runs.TRUE, image="late:1", fence=2)))
        finish = await platform.finish()
    assert (finish.fence, finish.exit_code, finish.error) == (2, 0, None)
    assert dock.containers.started == [RUN]


async def test_a_run_ended_because_its_lease_was_gone_is_lost_under_its_next_fence_too() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.POLITE, result="/tally/result.json")))
        await platform.start()
        platform.tell(sync(stop=[RUN]))
        first = await platform.finish()
        platform.tell(offer(offered(runs.POLITE, result="/tally/result.json", fence=2)))
        await platform.until(lambda: len(platform.finishes) == 2 or None)
    assert (first.exit_code, first.signal) == (9, "TERM")
    assert [(one.data.fence, one.data.error and one.data.error.code) for one in platform.finishes] == [
        (1, "lost"), (2, "lost"),
    ]  # fmt: skip
    assert all(is_loss(one.data) for one in platform.finishes)


@pytest.mark.parametrize("syncs", [1, 2])
async def test_a_run_whose_container_is_being_ended_is_lost_if_it_is_offered_again_meanwhile(
    syncs: int,
) -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SLEEP)))
        await platform.start()
        dock.containers.down = True
        for _ in range(syncs):
            platform.tell(sync(stop=[RUN]))
        platform.tell(offer(offered(runs.SLEEP, fence=2)))
        await platform.until(lambda: len(platform.starts) == 2 or None)
        dock.containers.down = False
        finish = await platform.finish()
    assert (finish.fence, finish.exit_code, is_loss(finish)) == (2, 137, True)


async def test_a_run_that_had_ended_before_its_lease_was_gone_keeps_its_end() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SPEAK)))
        await platform.finish()
        platform.tell(sync(stop=[RUN]))
        platform.tell(offer(offered(runs.SPEAK, fence=2)))
        last = await platform.until(lambda: platform.finishes[1:] or None)
    assert (last[0].data.fence, last[0].data.exit_code, last[0].data.error) == (2, 3, None)


async def test_a_run_whose_lease_is_gone_while_it_waits_for_a_slot_is_given_back() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform, slots=1) as worker:
        platform.tell(offer(offered(runs.SLEEP)))
        await platform.start()
        platform.tell(offer(offered(runs.TRUE, OTHER)))
        await platform.until(lambda: [beat for beat in platform.beats if len(beat.runs) == 2])
        platform.tell(sync(stop=[OTHER]))
        await soon(lambda: OTHER not in worker.orders.holdings.runs)
    assert dock.containers.started == [RUN]
    assert not platform.finishes


async def test_a_stop_of_a_run_that_was_given_back_is_answered() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform) as worker:
        platform.tell(offer(offered(runs.TRUE, image="late:1")))
        await dock.containers.pulling.wait()
        dock.clock.now += 10.0
        dock.containers.pulled.set()
        await soon(lambda: not worker.orders.holdings.runs)
        platform.tell(stop())
        finish = await platform.finish()
        platform.tell(stop())
        await platform.all_obeyed()
    assert (finish.error and finish.error.code, finish.gone) == ("not-held", True)
    assert len([one for one in platform.finishes if one.data.run_id == RUN]) == 1
    assert not dock.containers.started


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


@pytest.mark.parametrize(("generation", "gone"), [(3, True), (2, False), (None, False)])
async def test_a_worker_without_an_engine_knows_of_runs_of_its_own_generation_alone_that_they_never_began(
    generation: int | None, gone: bool
) -> None:
    platform, dock = Platform(generation=3), Dock()
    async with dock.worker(platform, engine=False):
        platform.tell(stop(generation=generation))
        platform.tell(offer(offered(executor="noop")))
        platform.tell(offer(offered(run=OTHER, executor="noop")))
        await platform.finish(OTHER)
    mine = [report.data for report in platform.finishes if report.data.run_id == RUN]
    assert [(finish.error and finish.error.code, finish.gone) for finish in mine] == [("not-held", gone)]


async def test_a_task_whose_cancel_overtakes_its_offer_ends_as_cancelled_and_nothing_of_it_can_be_left() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform, engine=False):
        platform.tell(stop(generation=3))
        finish = await platform.finish()
    facts, lease = Facts(TASK, 4, SUBMITTED, 1, 1), Lease(RUN, 1, 1, "w1", 3)
    cancelling = Cancelling(facts, lease, "alice", None, started=False, grace=timedelta(0))

    *_, end = decide(cancelling, finish, NOW)

    assert end == TaskCancelled(task_id="T1", by="alice", runs=1)
