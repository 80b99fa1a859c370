"""What becomes of what arrives on the queue of beats."""

from datetime import timedelta
from typing import Any

import pytest

from adapters.in_memory.event_log import MemoryLog
from adapters.in_memory.handling import MemoryBeats, MemoryHandlerStore, MemoryLease
from consumers.beats import Beats
from consumers.reading import decode, read
from domain.ids import derived_id
from domain.ports.broker import Delivery
from infra.topology import BEATS_QUEUE
from tests.support.commands import COMMAND, Ids, command
from tests.support.ended_tasks import Hands

RUN = derived_id(COMMAND, "run:1")
HELD = {"run_id": str(RUN), "fence": 1, "state": "running"}


class Desk:
    """A handler of beats over stores in memory, and one open lease of W1's."""

    def __init__(self) -> None:
        self.beats = MemoryBeats(leases={RUN: MemoryLease(1, "W1", 3, until=15.0)})
        self.store = MemoryHandlerStore(MemoryLog(Hands()), self.beats)
        self.handle = Beats(BEATS_QUEUE, self.beats, self.store, Ids(), read, decode)

    async def __call__(self, *deliveries: Delivery) -> list[Delivery]:
        return await self.handle(deliveries, timedelta(0))

    @property
    def reasons(self) -> list[str]:
        return [letter.reason for letter in self.store.dead_letters]


def beat(beat: int = 1, generation: int = 3, **data: Any) -> Delivery:
    return command("worker.heartbeat.v1", {"worker_id": "W1", "generation": generation, "beat": beat, **data})


async def test_a_beat_renews_the_leases_that_it_lists() -> None:
    desk = Desk()
    desk.beats.clock = 5.0

    assert await desk(beat(runs=[HELD])) == []

    lease = desk.beats.leases[RUN]
    assert (lease.until, lease.accepted) == (20.0, True)


async def test_a_beat_of_an_old_generation_renews_nothing() -> None:
    desk = Desk()
    desk.beats.clock = 5.0

    await desk(beat(2, generation=4), beat(9, runs=[HELD]))

    assert desk.beats.leases[RUN].until == 15.0
    assert desk.beats.last["W1"][0].generation == 4


async def test_the_last_of_several_beats_counts_whatever_their_order() -> None:
    desk = Desk()

    await desk(beat(8), beat(7))

    assert desk.beats.last["W1"][0].beat == 8


async def test_a_probe_says_how_far_the_queue_was_read() -> None:
    desk = Desk()

    await desk(command("lease.probe.v1", {"probe": 41}), beat())

    assert (desk.beats.probe, desk.reasons) == (41, [])


@pytest.mark.parametrize(
    ("strange", "reason"),
    [
        (command("task.submit.v1", {}), "unknown-type"),
        (command("worker.register.v1", {"worker_id": "W1"}), "schema"),
        (
            command("worker.register.v1", {"worker_id": "W1", "instance": str(RUN), "engine": "engine-1"}),
            "not-a-beat",
        ),
        (command("worker.heartbeat.v1", {}, body=b"{'a'}"), "bad-json"),
        (beat(9, generation=2**31), "schema"),
        (beat(9, generation=-1), "schema"),
        (beat(9, runs=[{**HELD, "fence": 2**31}]), "schema"),
    ],
)
async def test_what_is_no_beat_is_set_aside_and_holds_up_no_beat(strange: Delivery, reason: str) -> None:
    desk = Desk()

    await desk(strange, beat(8))

    assert desk.reasons == [reason]
    assert desk.store.dead_letters[0].queue == BEATS_QUEUE
    assert desk.beats.last["W1"][0].beat == 8
