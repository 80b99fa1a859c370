"""What names something that is not there yet: it waits a while, and holds up nobody."""

from datetime import timedelta

import pytest

from consumers.intake import WAITING
from domain.errors import Unavailable
from tests.support.intakes import Place, id_of


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


async def test_of_many_that_name_something_unknown_few_wait_and_the_rest_is_decided_at_once() -> None:
    here = await Place().open()
    names = [f"early {n}" for n in range(WAITING + 8)]
    here.hand.unknown = set(names)
    await here.send(*names, "a")

    await here.intake.round()

    assert here.hand.parts == [[*names, "a"], names[WAITING:]]
    assert here.hand.waited == [timedelta(0), timedelta(seconds=2)]
    assert await here.unsettled() == names[:WAITING]


async def test_all_that_waits_is_tried_again_in_one_batch() -> None:
    here = await Place().open()
    names = [f"early {n}" for n in range(5)]
    here.hand.unknown = set(names)
    await here.send(*names)
    await here.intake.round()
    here.clock.move(timedelta(seconds=1))

    await here.intake.round()

    assert here.hand.parts == [names, names]


async def test_what_waits_is_not_tried_again_with_each_batch_that_arrives() -> None:
    here = await Place().open()
    here.hand.unknown = {"early"}
    await here.send("early")
    await here.intake.round()
    await here.intake.round()
    await here.send("a")

    await here.intake.round()

    assert here.hand.parts == [["early"], ["early"], ["a"]]


async def test_what_has_waited_long_enough_is_settled_while_others_wait_on() -> None:
    here = await Place().open()
    here.hand.unknown = {"early", "later"}
    await here.send("early", "a")
    await here.intake.round()
    here.clock.move(timedelta(seconds=1))
    await here.send("later", "b")
    await here.intake.round()
    here.clock.move(timedelta(seconds=1))

    await here.intake.round()

    assert await here.unsettled() == ["later"]


async def test_an_outage_is_not_held_against_what_waited_through_it() -> None:
    here = await Place().open()
    here.hand.unknown = {"early"}
    await here.send("early")
    await here.intake.round()
    await here.start_again()
    await here.intake.round()
    here.hand.down = Unavailable("database: down")
    with pytest.raises(Unavailable):
        await here.intake.run()
    here.hand.down = None
    await here.start_again()

    await here.intake.round()

    assert here.store.returned == {str(id_of("early")): 1}


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
