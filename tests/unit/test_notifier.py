"""The notifier in memory: what is due goes out by channel, and what became of it is recorded."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from adapters.in_memory.event_log import MemoryLog, MemorySeat
from adapters.in_memory.ledger import Ledger, NotifierMemoryTurn
from adapters.in_memory.traces import NoTraces
from consumers.notifier import AT_ONCE, Notifier
from domain.errors import StreamsMoved
from domain.ids import derived_id
from domain.notifications import NotificationFailed, NotificationSent
from domain.notifying import Notification, Tried
from tests.support.ended_tasks import TASK, TASK_2, Hands, failed, succeeded
from tests.support.waiting import eventually

ENDS = frozenset({"task.succeeded.v1", "task.failed.v1"})


@dataclass
class Wire:
    """A channel that says what it is told to, and may be held up."""

    says: list[Tried] = field(default_factory=list[Tried])
    sent: list[Notification] = field(default_factory=list[Notification])
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, notification: Notification) -> Tried:
        self.sent.append(notification)
        await self.open.wait()
        return self.says.pop(0) if self.says else Tried()


def opened(*says: Tried) -> Wire:
    wire = Wire(list(says))
    wire.open.set()
    return wire


class World:
    """A log, a ledger, and what notifies."""

    def __init__(self, **wires: Wire) -> None:
        self.clock = Hands()
        self.log, self.ledger, self.wires = MemoryLog(self.clock), Ledger(), wires

    def notifier(self) -> Notifier:
        seat = MemorySeat(self.log, "notifier", self.ledger.turn)
        rules = dict.fromkeys(self.wires, ENDS)
        return Notifier(seat, self.wires, rules, NoTraces(), share=lambda: 1.0)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        stop = asyncio.Event()
        run = asyncio.create_task(self.notifier().run(stop))
        yield
        stop.set()
        self.log.grown.set()
        await run

    async def facts(self, count: int) -> list[NotificationSent | NotificationFailed]:
        """The first `count` facts about notifications, once they are there."""
        await holds(lambda: len(self.told()) >= count, f"{count} facts")
        return self.told()[:count]

    def told(self) -> list[NotificationSent | NotificationFailed]:
        events = [event.event() for event in self.log.events]
        return [event for event in events if isinstance(event, NotificationSent | NotificationFailed)]


async def holds(true: Callable[[], bool], what: str) -> None:
    async def now() -> bool:
        return true()

    await eventually(now, what)


async def test_the_end_of_a_task_is_told_and_recorded_with_its_cause() -> None:
    world = World(ops=opened())
    world.log.append(succeeded(TASK, "ops"))
    async with world.running():
        [fact] = await world.facts(1)
    end, told = world.log.events[1:]
    assert fact == NotificationSent(event_id=end.event_id, channel="ops", tries=1)
    assert told.cause.causation_id == str(end.event_id)
    assert (told.cause.actor, told.namespace) == ("notifier", "analytics")
    assert told.stream == derived_id(TASK, f"notification:{end.event_id}:ops")


async def test_a_task_that_names_no_channel_tells_nobody() -> None:
    world = World(ops=opened())
    world.log.append(succeeded(TASK))
    world.log.append(succeeded(TASK_2, "ops"))
    async with world.running():
        await world.facts(1)
    assert [one.event.stream for one in world.wires["ops"].sent] == [TASK_2]


async def test_a_channel_that_hangs_delays_no_other() -> None:
    world = World(slow=Wire(), ops=opened())
    for n in range(2 * AT_ONCE):
        world.log.append(succeeded(derived_id(TASK, str(n)), "slow", "ops"))
    async with world.running():
        facts = await world.facts(2 * AT_ONCE)
        assert {fact.channel for fact in facts} == {"ops"}
        assert len(world.wires["slow"].sent) == AT_ONCE


async def test_a_failed_try_is_made_again_when_its_pause_is_over() -> None:
    world = World(ops=opened(Tried("answered 500")))
    world.log.append(failed(TASK, "ops"))
    async with world.running():
        await holds(lambda: any(row.problem for row in world.ledger.values()), "the failed try noted")
        assert len(world.wires["ops"].sent) == 1
        world.clock.move(timedelta(seconds=6))
        world.log.grown.set()
        [fact] = await world.facts(1)
    first, second = world.wires["ops"].sent
    assert first.key == second.key
    assert fact == NotificationSent(event_id=first.event.event_id, channel="ops", tries=2)


async def test_a_channel_that_nobody_set_up_fails_visibly() -> None:
    world = World(ops=opened())
    world.log.append(failed(TASK, "opps"))
    async with world.running():
        [fact] = await world.facts(1)
    assert isinstance(fact, NotificationFailed)
    assert "notify.opps.url" in fact.reason


async def test_a_try_that_was_not_recorded_is_made_again_with_the_same_id() -> None:
    world = World(ops=Wire())
    world.log.append(succeeded(TASK, "ops"))
    async with world.running():
        await holds(lambda: len(world.wires["ops"].sent) == 1, "the first try")
    world.wires["ops"].open.set()
    async with world.running():
        await world.facts(1)
    first, second = world.wires["ops"].sent
    assert first.event.event_id == second.event.event_id


async def test_what_was_told_is_not_told_again_after_a_restart() -> None:
    world = World(ops=opened())
    world.log.append(succeeded(TASK, "ops"))
    async with world.running():
        await world.facts(1)
    world.log.append(failed(TASK_2, "ops"))
    async with world.running():
        await world.facts(2)
    assert [one.event.stream for one in world.wires["ops"].sent] == [TASK, TASK_2]


async def test_a_ledger_that_is_older_than_the_log_ends_no_notifier() -> None:
    world = World(ops=opened())
    world.log.append(succeeded(TASK, "ops"))
    async with world.running():
        await world.facts(1)
    world.ledger.clear()
    world.log.seats["notifier"] = (world.log.seats["notifier"][0], 0)
    world.log.append(failed(TASK_2, "ops"))
    async with world.running():
        await world.facts(2)
    assert [one.event.stream for one in world.wires["ops"].sent] == [TASK, TASK, TASK_2]


async def test_a_conflict_that_names_nothing_new_ends_the_step() -> None:
    tries: list[int] = []

    class Conflicting(MemorySeat[NotifierMemoryTurn]):
        @asynccontextmanager
        async def turn(self, up_to: int = 0) -> AsyncGenerator[NotifierMemoryTurn]:
            tries.append(up_to)
            assert len(tries) < 10, "it goes on for ever"
            async with super().turn(up_to) as turn:
                yield turn
                raise StreamsMoved(frozenset())

    world = World(ops=opened())
    seat = Conflicting(world.log, "notifier", world.ledger.turn)
    notifier = Notifier(seat, world.wires, {"ops": ENDS}, NoTraces(), share=lambda: 1.0)
    world.log.append(succeeded(TASK, "ops"))

    with pytest.raises(StreamsMoved):
        await notifier.step(await seat.page(1000, sorted(ENDS)))
