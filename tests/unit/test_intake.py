"""A queue's loop: batches, when they are settled, and who suffers from a message that kills its handler."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

import pytest

from consumers.intake import FORGIVEN
from domain.errors import Unavailable
from domain.ports.broker import Delivery, Subscription
from infra.topology import COMMANDS_QUEUE
from tests.support.intakes import Killed, Place, id_of


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


async def test_each_copy_of_a_message_that_kills_is_settled_and_one_is_kept() -> None:
    here = await Place().open()
    await here.send("poison", "good", "poison")
    here.hand.deadly = {"poison"}

    await here.rounds_until_empty()

    assert [json.loads(letter.body) for letter in here.store.dead_letters] == ["poison"]
    assert here.hand.handled == {"good"}


@dataclass(slots=True)
class DiesSettling:
    """A subscription whose process is killed the moment it settles."""

    one: Subscription

    async def batch(self, limit: int) -> Sequence[Delivery]:
        return await self.one.batch(limit)

    async def ack(self, last: Delivery) -> None:
        raise Killed

    async def settle(self, one: Delivery) -> None:
        raise Killed

    async def pause(self) -> None:
        await self.one.pause()


async def test_who_is_killed_before_he_could_settle_a_message_set_aside_keeps_no_second_letter() -> None:
    here = await Place().open()
    await here.send("poison")
    here.hand.deadly = {"poison"}
    for _ in range(5):
        with pytest.raises(Killed):
            await here.intake.round()
        await here.start_again()
    here.intake.subscription = DiesSettling(here.intake.subscription)
    with pytest.raises(Killed):
        await here.intake.round()
    here.clock.move(timedelta(seconds=30))

    assert await here.unsettled() == ["poison"]
    await here.intake.round()

    assert [json.loads(letter.body) for letter in here.store.dead_letters] == ["poison"]
    assert await here.unsettled() == []


async def test_another_message_under_the_id_of_one_that_kills_is_kept_as_well() -> None:
    here = await Place().open()
    await here.send("poison")
    here.hand.deadly = {"poison"}
    await here.rounds_until_empty()
    other = Delivery(99, COMMANDS_QUEUE, "task.commands", "", b'"b"', message_id=str(id_of("poison")), redelivered=True)
    here.intake.subscription = Returning(other)

    await here.intake.round()

    assert [json.loads(letter.body) for letter in here.store.dead_letters] == ["poison", "b"]


async def test_what_is_known_of_a_message_that_kills_is_forgotten_a_day_after_it_was_seen_last() -> None:
    here = await Place().open()
    here.hand.deadly = {"poison", "later"}
    await here.send("poison")
    await here.rounds_until_empty()
    assert list(here.store.returned) == [str(id_of("poison"))]
    here.clock.move(timedelta(hours=25))

    await here.send("later")
    await here.rounds_until_empty()

    assert list(here.store.returned) == [str(id_of("later"))]


async def test_of_what_outages_gave_back_the_newest_names_are_kept() -> None:
    here = await Place().open()
    here.forgiven.update(dict.fromkeys(f"taken elsewhere {n}" for n in range(FORGIVEN)))
    await here.send("a")
    here.hand.down = Unavailable("database: down")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await here.intake.round()
        await here.start_again()

    assert len(here.forgiven) == FORGIVEN
    assert str(id_of("a")) in here.forgiven


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
