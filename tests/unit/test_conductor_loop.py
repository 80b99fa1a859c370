"""The conductor's loop: how long it sleeps, and the probes that go out beside it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import pytest

from adapters.in_memory.conducting import ConductorMemoryTurn
from adapters.in_memory.event_log import MemorySeat
from consumers.conductor import AGENDA_LIMIT, IDLE_SECONDS, Conductor
from consumers.timekeeper import Probes
from domain.errors import StreamsMoved, Unavailable
from domain.ports.broker import Outgoing
from domain.reports import Probe
from tests.support.conducting import EPOCH, MemoryWorld, conductor, settle, spec


@dataclass(slots=True)
class Broker:
    """A publisher that fails so often, and then says what it was given."""

    failures: int = 0
    sent: list[Outgoing] = field(default_factory=list[Outgoing])
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        if self.failures:
            self.failures -= 1
            self.came.set()
            raise Unavailable("no confirm")
        self.sent += messages
        self.came.set()


async def test_a_round_that_sends_a_probe_stores_its_number_first_and_publishes_it_beside_the_loop() -> None:
    world, broker, stop = MemoryWorld(), Broker(), asyncio.Event()
    seat = MemorySeat(world.log, "conductor", world.turn)
    loop = asyncio.create_task(conductor(seat, broker).run(stop))

    await asyncio.wait_for(broker.came.wait(), 20)
    stop.set()
    world.log.grown.set()
    await asyncio.wait_for(loop, 20)

    assert [Probe.model_validate_json(one.body).probe for one in broker.sent] == [1]
    assert world.rows.clock.probe == 1


async def test_a_probe_that_cannot_be_sent_is_not_sent_again_but_the_next_one_is() -> None:
    broker = Broker(failures=1)
    probes = Probes(broker, lambda: EPOCH)
    sending = asyncio.create_task(probes.run())
    probes.send(7)
    await asyncio.wait_for(broker.came.wait(), 20)
    broker.came.clear()

    probes.send(8)
    await asyncio.wait_for(broker.came.wait(), 20)

    assert [Probe.model_validate_json(one.body).probe for one in broker.sent] == [8]
    sending.cancel()
    with suppress(asyncio.CancelledError):
        await sending


@pytest.mark.parametrize(("limit", "sleeps"), [(0.25, 0.25), (3600, IDLE_SECONDS)])
async def test_it_sleeps_until_the_next_timer_is_due_and_a_second_at_most(limit: float, sleeps: float) -> None:
    world = MemoryWorld()
    seat = Dozing(world)
    await world.register("w1")
    await world.submit(spec("a", run=timedelta(seconds=limit)))
    await settle(conductor(seat))
    await world.start("a")

    await seat.doze(conductor(seat))

    assert seat.slept == pytest.approx(sleeps, abs=0.05)


class Dozing(MemorySeat[ConductorMemoryTurn]):
    """A seat that notes how long it is to wait, and ends the loop then."""

    def __init__(self, world: MemoryWorld) -> None:
        super().__init__(world.log, "conductor", world.turn)
        self.stop, self.slept = asyncio.Event(), -1.0

    async def wait(self, seconds: float) -> None:
        self.slept = seconds
        self.stop.set()

    async def doze(self, conducting: Conductor) -> None:
        await asyncio.wait_for(conducting.run(self.stop), 20)


async def test_its_own_grants_alone_are_no_reason_for_another_round() -> None:
    world = MemoryWorld()
    seat = Dozing(world)
    await world.register("w1")
    await world.submit(spec("a"))
    conducting = conductor(seat)
    await seat.doze(conducting)
    turns, position = world.log.seats["conductor"]

    seat.stop.clear()
    await seat.doze(conducting)

    assert [event.type for event in world.log.events][-1] == "task.run-leased.v1"
    assert world.log.seats["conductor"] == (turns, position)


async def test_a_task_that_is_freed_and_granted_at_once_is_no_reason_for_another_round() -> None:
    world = MemoryWorld()
    seat = Dozing(world)
    await world.register("w1")
    await world.submit(spec("a"), spec("b", "a"))
    conducting = conductor(seat)
    await seat.doze(conducting)
    await world.start("a")
    await world.finish("a")
    turns, _ = world.log.seats["conductor"]

    seat.stop.clear()
    await seat.doze(conducting)

    assert [event.type for event in world.log.events][-2:] == ["task.queued.v1", "task.run-leased.v1"]
    assert world.log.seats["conductor"][0] == turns + 1


async def test_a_task_that_is_freed_and_finds_no_slot_is_looked_at_again() -> None:
    world = MemoryWorld()
    seat = Dozing(world)
    await world.register("w1", slots=1)
    await world.submit(spec("a"), spec("b", "a"), spec("c", "a"))
    conducting = conductor(seat)
    await seat.doze(conducting)
    await world.start("a")
    await world.finish("a")

    seat.stop.clear()
    await seat.doze(conducting)

    assert len(world.rows.queue) == 1
    assert await world.leases() == {"w1": 1}


async def test_its_own_grants_do_not_hide_what_a_round_has_left() -> None:
    world = MemoryWorld()
    seat = Dozing(world)
    await world.register("w1", slots=100)
    await world.submit(spec("a"), *(spec(f"b{n}", "a") for n in range(AGENDA_LIMIT + 10)))
    conducting = conductor(seat)
    await seat.doze(conducting)
    await world.start("a")
    await world.finish("a")

    seat.stop.clear()
    await seat.doze(conducting)

    assert await world.leases() == {"w1": AGENDA_LIMIT + 10}


async def test_a_conflict_that_names_nothing_new_ends_the_round() -> None:
    world, tries = MemoryWorld(), list[int]()

    class Conflicting(MemorySeat[ConductorMemoryTurn]):
        @asynccontextmanager
        async def turn(self, up_to: int = 0) -> AsyncGenerator[ConductorMemoryTurn]:
            tries.append(up_to)
            assert len(tries) < 10, "it goes on for ever"
            async with super().turn(up_to) as turn:
                yield turn
                if len(tries) > 1:
                    raise StreamsMoved(frozenset({UUID(int=1)}))

    seat = Conflicting(world.log, "conductor", world.turn)

    with pytest.raises(StreamsMoved):
        await conductor(seat).step(await seat.page(1000))

    assert len(tries) == 3, "one that makes partitions, one that moved, and the same again"
