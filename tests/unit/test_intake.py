"""A queue's loop: batches, when they are settled, and who suffers from a message that kills its handler."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

import pytest

from adapters.in_memory.broker import InMemoryBroker
from adapters.in_memory.event_log import MemoryLog
from adapters.in_memory.handling import MemoryHandlerStore
from adapters.intake import Intake as Taking
from consumers.intake import Intake
from domain.errors import Unavailable
from domain.ids import derived_id
from domain.ports.broker import Delivery, Outgoing
from infra.topology import COMMANDS_QUEUE, TOPOLOGY
from tests.support.commands import COMMAND, Ids
from tests.support.ended_tasks import Hands


class Killed(Exception):
    """The process is gone."""


@dataclass(slots=True)
class Hand:
    """Handles by name: dies of `deadly`, cannot in an outage (`down`), leaves `unknown` waiting for two seconds."""

    deadly: set[str] = field(default_factory=set[str])
    unknown: set[str] = field(default_factory=set[str])
    down: Unavailable | None = None
    parts: list[list[str]] = field(default_factory=list[list[str]])
    waited: list[timedelta] = field(default_factory=list[timedelta])

    async def __call__(self, deliveries: Sequence[Delivery], waited: timedelta) -> list[Delivery]:
        if self.down is not None:
            raise self.down
        names = [name_of(delivery) for delivery in deliveries]
        if self.deadly & set(names):
            raise Killed(names)
        self.parts.append(names)
        self.waited.append(waited)
        return [
            delivery for delivery in deliveries if waited < timedelta(seconds=2) and name_of(delivery) in self.unknown
        ]

    @property
    def handled(self) -> set[str]:
        return {name for part in self.parts for name in part}


@dataclass(slots=True)
class Place:
    """A queue, and a process that takes from it and is started again when it dies."""

    broker: InMemoryBroker = field(default_factory=InMemoryBroker)
    clock: Hands = field(default_factory=Hands)
    hand: Hand = field(default_factory=Hand)
    ids: Ids = field(default_factory=Ids)
    forgiven: set[str] = field(default_factory=set[str])
    store: MemoryHandlerStore = field(init=False)
    intake: Intake = field(init=False)

    async def open(self) -> "Place":
        self.store = MemoryHandlerStore(MemoryLog(self.clock))
        await self.broker.declare(TOPOLOGY)
        self.start()
        return self

    def start(self) -> None:
        subscription = self.broker.subscription(Taking(COMMANDS_QUEUE, 200))
        self.intake = Intake(subscription, self.hand, self.store, self.clock, self.ids, forgiven=self.forgiven)

    async def start_again(self) -> None:
        await self.broker.lose_connections()
        self.start()

    async def send(self, *names: str) -> None:
        messages = [
            Outgoing("task.commands", "task.submit.default", "task.submit.v1", id_of(name), json.dumps(name).encode())
            for name in names
        ]
        await self.broker.publisher("client").publish(messages)

    async def rounds_until_empty(self, deaths: int = 20) -> int:
        """Take what is there, starting again after each death; how often it died."""
        died = 0
        while await self.unsettled():
            try:
                await self.intake.round()
            except Killed:
                died += 1
                assert died <= deaths, "it dies for ever"
        return died

    async def unsettled(self) -> list[str]:
        """What is not settled: all of it comes again."""
        await self.start_again()
        return [name_of(delivery) for delivery in self.broker.waiting(COMMANDS_QUEUE)]


def name_of(delivery: Delivery) -> str:
    return str(json.loads(delivery.body))


def id_of(name: str) -> UUID:
    return derived_id(COMMAND, name)


async def test_what_has_arrived_is_handled_at_once_and_settled() -> None:
    here = await Place().open()
    await here.send("a", "b", "c")

    await here.intake.round()

    assert here.hand.parts == [["a", "b", "c"]]
    assert await here.unsettled() == []


async def test_nothing_is_settled_before_it_has_its_outcome() -> None:
    here = await Place().open()
    await here.send("a", "b")
    here.hand.deadly = {"b"}

    with pytest.raises(Killed):
        await here.intake.round()

    assert await here.unsettled() == ["a", "b"]


async def test_in_an_outage_everything_stays_on_the_queue() -> None:
    here = await Place().open()
    await here.send("a", "b")
    here.hand.down = Unavailable("database: down")
    with pytest.raises(Unavailable):
        await here.intake.run()
    assert await here.unsettled() == ["a", "b"]
    here.hand.down = None

    await here.intake.round()

    assert here.hand.parts == [["a", "b"]]
    assert await here.unsettled() == []


async def test_an_outage_makes_no_message_suspect_however_long_it_lasts() -> None:
    here = await Place().open()
    await here.send("a", "b")
    here.hand.down = Unavailable("broker: down")
    for _ in range(10):
        with pytest.raises(Unavailable):
            await here.intake.round()
        await here.start_again()
    here.hand.down = None

    await here.intake.round()

    assert here.hand.parts == [["a", "b"]]
    assert here.store.dead_letters == []


async def test_a_message_that_came_back_for_the_third_time_is_tried_alone() -> None:
    here = await Place().open()
    await here.send("a", "b", "c")
    here.hand.deadly = {"b"}
    for _ in range(3):
        with pytest.raises(Killed):
            await here.intake.round()
        await here.start_again()
    await here.send("new")

    with pytest.raises(Killed) as caught:
        await here.intake.round()

    assert here.hand.parts == [["a"]]
    assert caught.value.args == (["b"],)
    assert await here.unsettled() == ["b", "c", "new"]


async def test_a_message_that_came_back_for_the_fifth_time_is_set_aside_untried() -> None:
    here = await Place().open()
    await here.send("poison")
    here.hand.deadly = {"poison"}

    died = await here.rounds_until_empty()

    [letter] = here.store.dead_letters
    assert (died, letter.reason, letter.message_id) == (5, "poison", str(id_of("poison")))
    assert (letter.queue, letter.body, letter.user) == (COMMANDS_QUEUE, b'"poison"', "client")


async def test_no_innocent_message_is_set_aside_with_those_that_kill() -> None:
    here = await Place().open()
    names = [f"good {n}" for n in range(40)]
    here.hand.deadly = {f"bad {n}" for n in range(5)}
    for at, name in enumerate(sorted(here.hand.deadly)):
        names.insert(8 * at, name)
    await here.send(*names)

    await here.rounds_until_empty(deaths=25)

    assert here.hand.handled == set(names) - here.hand.deadly
    assert {json.loads(letter.body) for letter in here.store.dead_letters} == here.hand.deadly
    assert len(here.store.dead_letters) == 5


async def test_each_copy_of_a_message_that_kills_is_set_aside() -> None:
    here = await Place().open()
    await here.send("poison", "good", "poison")
    here.hand.deadly = {"poison"}

    await here.rounds_until_empty()

    assert [json.loads(letter.body) for letter in here.store.dead_letters] == ["poison", "poison"]
    assert here.hand.handled == {"good"}


async def test_a_message_that_was_settled_is_counted_anew_when_it_is_sent_again() -> None:
    here = await Place().open()
    await here.send("a", "b")
    here.hand.deadly = {"b"}
    for _ in range(2):
        with pytest.raises(Killed):
            await here.intake.round()
        await here.start_again()
    here.hand.deadly = set()

    await here.intake.round()

    assert here.store.returned == {}
    assert await here.unsettled() == []


async def test_a_message_that_waited_after_it_came_back_is_counted_until_it_is_settled() -> None:
    here = await Place().open()
    here.hand.unknown = {"early"}
    await here.send("early")
    await here.intake.round()
    await here.start_again()
    await here.intake.round()
    assert here.store.returned == {str(id_of("early")): 1}
    here.hand.unknown = set()

    await here.intake.round()

    assert here.store.returned == {}
    assert await here.unsettled() == []


@dataclass(frozen=True, slots=True)
class Returning:
    """A subscription to which one message comes back."""

    delivery: Delivery

    async def batch(self, limit: int) -> Sequence[Delivery]:
        return [self.delivery]

    async def ack(self, last: Delivery) -> None:
        """Nothing else is there."""

    async def settle(self, one: Delivery) -> None:
        """Nothing else is there."""

    async def pause(self) -> None:
        """Nothing else is there."""


@pytest.mark.parametrize("given", [None, "", "\x00", "a\nb"])
async def test_a_message_without_a_usable_id_is_counted_by_its_body(given: str | None) -> None:
    here = await Place().open()
    delivery = Delivery(1, COMMANDS_QUEUE, "task.commands", "", b'"a"', message_id=given, redelivered=True)
    here.intake.subscription = Returning(delivery)
    here.hand.deadly = {"a"}

    with pytest.raises(Killed):
        await here.intake.round()

    assert here.store.returned == {sha256(b'"a"').hexdigest(): 1}


async def test_what_names_something_unknown_waits_and_holds_up_nobody() -> None:
    here = await Place().open()
    here.hand.unknown = {"early"}
    await here.send("a", "early", "b")
    await here.intake.round()
    await here.send("c")
    await here.intake.round()

    assert here.hand.handled == {"a", "early", "b", "c"}
    assert await here.unsettled() == ["early"]


async def test_what_waited_is_tried_again_until_it_has_its_outcome() -> None:
    here = await Place().open()
    here.hand.unknown = {"early"}
    await here.send("early")
    await here.intake.round()
    here.clock.move(timedelta(seconds=1))
    await here.intake.round()
    here.clock.move(timedelta(seconds=1))

    await here.intake.round()

    assert here.hand.waited == [timedelta(seconds=seconds) for seconds in (0, 1, 2)]
    assert await here.unsettled() == []
