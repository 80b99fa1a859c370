"""What every store of beats promises."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import pytest

from adapters.beat_store import PgBeatStore
from adapters.event_log import connect
from adapters.in_memory.handling import MemoryBeats, MemoryLease
from domain.ports.handling import Beat, BeatStore
from domain.reports import Heartbeat, HeldRun
from tests.support.ended_tasks import TASK

RUN = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7d01")


@dataclass(frozen=True, slots=True)
class Place:
    """A store of beats over one open lease of worker W1: fence 7, generation 2, until second 12 of the lease clock."""

    store: BeatStore
    lease: Callable[[], Awaitable[tuple[bool, float]]]


def beat(number: int, generation: int = 2, fence: int = 7, worker: str = "W1") -> Beat:
    run = HeldRun(run_id=RUN, fence=fence, state="running")
    return Beat(Heartbeat(worker_id=worker, generation=generation, beat=number, runs=(run,)))


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def place(request: pytest.FixtureRequest) -> AsyncGenerator[Place]:
    if request.param == "memory":
        beats = MemoryBeats(leases={RUN: MemoryLease(7, "W1", 2, 12.0)})

        async def kept() -> tuple[bool, float]:
            return beats.leases[RUN].accepted, beats.leases[RUN].until

        yield Place(beats, kept)
        return
    async with await connect(request.getfixturevalue("pg").app, "test") as connection:
        await connection.execute(
            "INSERT INTO leases (run_id, fence, task, worker_id, generation, until) VALUES (%s, 7, %s, 'W1', 2, 12)",
            (RUN, TASK),
        )

        async def stored() -> tuple[bool, float]:
            cursor = await connection.execute("SELECT accepted, until FROM leases")
            row = await cursor.fetchone()
            assert row is not None
            return row[0], row[1]

        yield Place(PgBeatStore(connection), stored)


async def test_a_beat_that_lists_a_run_accepts_it_for_a_term(place: Place) -> None:
    await place.store.record([beat(1)])

    assert await place.lease() == (True, 15.0)


@pytest.mark.parametrize(
    "powerless",
    [beat(1, fence=6), beat(1, generation=1), beat(1, worker="W2")],
    ids=["old fence", "old generation", "another worker"],
)
async def test_a_beat_without_the_lease_renews_nothing(place: Place, powerless: Beat) -> None:
    await place.store.record([powerless])

    assert await place.lease() == (False, 12.0)


async def test_a_new_generation_of_the_same_worker_adopts_its_runs(place: Place) -> None:
    await place.store.record([beat(1, generation=3)])

    assert await place.lease() == (True, 15.0)


async def test_an_old_generation_has_no_power_once_a_new_one_has_beaten(place: Place) -> None:
    empty = Beat(Heartbeat(worker_id="W1", generation=3, beat=0))
    await place.store.record([empty])

    await place.store.record([beat(9, generation=2)])

    assert await place.lease() == (False, 12.0)


async def test_probes_and_beats_come_in_one_batch(place: Place) -> None:
    await place.store.record([Beat(None, 4), beat(1), Beat(None, 5), beat(2)])

    assert await place.lease() == (True, 15.0)


@pytest.mark.parametrize("share", [0.0, 5e-324, 1 / 3, 1.0])
async def test_the_largest_and_smallest_numbers_that_a_beat_may_hold_are_recorded(place: Place, share: float) -> None:
    run = HeldRun(run_id=RUN, fence=2**31 - 1, state="running")
    largest = Heartbeat(worker_id="W1", generation=2**31 - 1, beat=2**63 - 1, runs=(run,), cpu=share, memory=share)
    smallest = Heartbeat(worker_id="W2", generation=0, beat=-(2**63), disk=share)

    await place.store.record([Beat(largest), Beat(None, probe=2**63 - 1)])
    await place.store.record([Beat(smallest)])

    assert await place.lease() == (False, 12.0)
