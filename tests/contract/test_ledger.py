"""What every ledger of the notifier promises."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest

from adapters.event_log import append_events, connect
from adapters.in_memory.event_log import MemoryLog, MemorySeat
from adapters.in_memory.ledger import Ledger
from adapters.ledger import NotifierPgTurn
from adapters.seat import PgSeat
from domain.notifying import Notification, Settled, Tried, settle
from domain.ports.log import Seat
from domain.ports.notifying import NotifierTurn
from domain.recorded import NewEvent, Recorded
from tests.support.ended_tasks import TASK, TASK_2, Hands, succeeded

ROOM = {"ops": 10, "dev": 10}


@dataclass(frozen=True, slots=True)
class Place:
    """A seat, and a way to give its log events before the test begins."""

    seat: Seat[NotifierTurn]
    append: Callable[[Sequence[NewEvent]], Awaitable[None]]

    async def ends(self, *histories: Sequence[NewEvent]) -> list[Recorded]:
        for events in histories:
            await self.append(events)
        return list((await self.seat.page(100, ["task.succeeded.v1"])).events)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def place(request: pytest.FixtureRequest) -> AsyncGenerator[Place]:
    if request.param == "memory":
        log = MemoryLog(Hands())

        async def keep(events: Sequence[NewEvent]) -> None:
            log.append(events)

        yield Place(MemorySeat(log, "notifier", Ledger().turn), keep)
        return
    dsn = request.getfixturevalue("pg").app

    async def append(events: Sequence[NewEvent]) -> None:
        async with await connect(dsn, "test") as connection, connection.transaction():
            await append_events(connection, events)

    async with PgSeat(dsn, "notifier", NotifierPgTurn) as seat:
        yield Place(seat, append)


async def test_the_channels_that_specs_name_are_found(place: Place) -> None:
    await place.ends(succeeded(TASK, "ops", "dev"), succeeded(TASK_2))
    async with place.seat.turn() as turn:
        named = await turn.channels_named({TASK, TASK_2})
    assert {stream: list(channels) for stream, channels in named.items()} == {TASK: ["ops", "dev"]}


async def test_what_is_added_is_due_with_its_whole_event(place: Place) -> None:
    [end] = await place.ends(succeeded(TASK, "ops"))
    async with place.seat.turn() as turn:
        await turn.add([Notification(end, "ops")])
        assert await turn.due(ROOM, ()) == [Notification(end, "ops")]
    async with place.seat.turn() as turn:
        assert await turn.due(ROOM, ()) == [Notification(end, "ops")]


async def test_what_is_on_its_way_is_left_out(place: Place) -> None:
    [end] = await place.ends(succeeded(TASK, "ops"))
    async with place.seat.turn() as turn:
        await turn.add([Notification(end, "ops"), Notification(end, "dev")])
        assert await turn.due(ROOM, {(end.event_id, "ops")}) == [Notification(end, "dev")]


async def test_each_channel_gets_as_many_as_it_has_room_for(place: Place) -> None:
    ends = await place.ends(succeeded(TASK, "ops"), succeeded(TASK_2, "ops"))
    async with place.seat.turn() as turn:
        await turn.add([Notification(end, channel) for end in ends for channel in ("ops", "dev")])
        due = await turn.due({"ops": 1, "dev": 2}, ())
        assert sorted(one.channel for one in due) == ["dev", "dev", "ops"]
        assert await turn.due({"ops": 0, "dev": 0}, ()) == []


async def test_a_channel_that_nobody_set_up_is_due_too(place: Place) -> None:
    [end] = await place.ends(succeeded(TASK, "opps"))
    async with place.seat.turn() as turn:
        await turn.add([Notification(end, "opps")])
        assert await turn.due({"ops": 0}, ()) == [Notification(end, "opps")]


async def test_a_failed_try_is_due_again_at_its_time_and_counts(place: Place) -> None:
    [end] = await place.ends(succeeded(TASK, "ops"))
    ops = Notification(end, "ops")
    async with place.seat.turn() as turn:
        await turn.add([ops])
        await turn.settle([settle(ops, Tried("answered 500"), await turn.now(), 0.0)])
        assert await turn.due(ROOM, ()) == [Notification(end, "ops", tries=1)]
        await turn.settle([Settled(ops, "answered 500", await turn.now() + timedelta(minutes=1), None)])
        assert await turn.due(ROOM, ()) == []


@pytest.mark.parametrize("outcome", [Tried(), Tried("bad-url", final=True)])
async def test_what_is_settled_is_never_due_again(place: Place, outcome: Tried) -> None:
    [end] = await place.ends(succeeded(TASK, "ops"))
    ops = Notification(end, "ops")
    async with place.seat.turn() as turn:
        await turn.add([ops])
        await turn.settle([settle(ops, outcome, await turn.now(), 1.0)])
    async with place.seat.turn() as turn:
        await turn.add([ops])
        assert await turn.due(ROOM, ()) == []


async def test_a_turn_that_fails_leaves_nothing(place: Place) -> None:
    [end] = await place.ends(succeeded(TASK, "ops"))

    async def failing() -> None:
        async with place.seat.turn() as turn:
            await turn.add([Notification(end, "ops")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing()
    async with place.seat.turn() as turn:
        assert await turn.due(ROOM, ()) == []
