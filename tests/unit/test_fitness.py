"""When a worker takes no more containers on, and when it does again."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID

import pytest

from adapters.in_memory.containers import InMemoryContainers
from consumers.fitness import FULL_SECONDS, Fitness
from domain.errors import CannotRun
from domain.ids import derived_id
from domain.ports.running import Found, Planned
from domain.reports import Heartbeat
from tests.support import runs
from tests.support.docks import Dock, Platform, offer, offered, soon
from tests.support.runs import BUSYBOX, RUN, TASK

OTHER = derived_id(TASK, "run:other")
NOTHING = derived_id(TASK, "run:nothing")


class Gate:
    """Pauses that last until the test lets one go by."""

    def __init__(self) -> None:
        self.asked, self.open = list[float](), asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self.open.acquire()


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
def engine() -> InMemoryContainers:
    return InMemoryContainers({}, [])


@pytest.fixture
async def fitness(engine: InMemoryContainers, gate: Gate) -> AsyncGenerator[Fitness]:
    fitness = Fitness(engine.ping, gate)
    watching = asyncio.create_task(fitness.run())
    yield fitness
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def test_two_calls_without_an_answer_or_three_with_one_between_them_are_no_sign(fitness: Fitness) -> None:
    fitness.unanswered()
    fitness.unanswered()
    fitness.answered()
    fitness.unanswered()
    assert fitness.fit


async def test_after_three_calls_without_an_answer_it_is_fit_as_soon_as_the_engine_answers(
    fitness: Fitness, engine: InMemoryContainers, gate: Gate
) -> None:
    engine.down = True
    for _ in range(3):
        fitness.unanswered()
    assert not fitness.fit

    await soon(lambda: len(gate.asked) == 1)
    gate.open.release()
    await soon(lambda: len(gate.asked) == 2)
    assert not fitness.fit

    engine.down = False
    gate.open.release()
    await soon(lambda: fitness.fit)
    fitness.unanswered()
    assert fitness.fit


async def test_a_disk_that_is_full_while_the_engine_is_asked_keeps_it_unfit_for_its_time(
    fitness: Fitness, gate: Gate
) -> None:
    for _ in range(3):
        fitness.unanswered()
    await soon(lambda: len(gate.asked) == 1)
    fitness.full()
    gate.open.release()

    await soon(lambda: len(gate.asked) == 2)
    assert gate.asked[-1] == FULL_SECONDS
    assert not fitness.fit
    gate.open.release()
    await soon(lambda: fitness.fit)


async def test_while_the_engine_is_away_containers_are_not_taken_on_and_runs_of_nothing_are() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform) as worker:
        dock.containers.down = True
        platform.tell(offer(offered(runs.TRUE)))
        await platform.finish()
        platform.tell(offer(offered(runs.TRUE, OTHER), offered(run=NOTHING, executor="noop")))
        await platform.finish(NOTHING)
        assert OTHER not in worker.orders.holdings.runs

        dock.containers.down = False
        await soon(lambda: worker.orders.runs and worker.orders.runs.fitness.fit)
        platform.tell(offer(offered(runs.TRUE, OTHER, fence=2)))
        finish = await platform.finish(OTHER)
    assert (finish.fence, finish.exit_code) == (2, 0)
    assert dock.containers.started == [OTHER]


async def test_a_run_that_is_held_is_kept_while_the_engine_is_away_also_under_its_next_fence() -> None:
    platform, dock = Platform(), Dock()
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.SLEEP)))
        await platform.start()
        dock.containers.down = True
        platform.tell(offer(offered(runs.TRUE, OTHER)))
        await platform.finish(OTHER)
        platform.tell(offer(offered(runs.SLEEP, fence=2)))
        beats = await platform.until(lambda: [b for b in platform.beats if (RUN, 2) in held(b)])
        dock.containers.down = False
    assert beats


def held(beat: Heartbeat) -> set[tuple[UUID, int]]:
    return {(run.run_id, run.fence) for run in beat.runs}


class Full(InMemoryContainers):
    """An engine whose disk is full."""

    async def create(self, planned: Planned) -> Found:
        raise CannotRun("disk-full", "no space")


async def test_a_worker_whose_disk_is_full_takes_no_containers_on_for_a_minute() -> None:
    platform, dock = Platform(), Dock(Full({}, [BUSYBOX]))
    async with dock.worker(platform):
        platform.tell(offer(offered(runs.TRUE)))
        finish = await platform.finish()
        await soon(lambda: FULL_SECONDS in dock.pauses.asked)
    assert finish.error is not None
    assert (finish.error.code, finish.container_id) == ("disk-full", None)
