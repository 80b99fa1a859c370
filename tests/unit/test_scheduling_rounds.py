"""How much of what is due a round of the conductor takes on."""

from typing import Any

import pytest

from adapters.in_memory.event_log import MemorySeat
from consumers.conductor import AGENDA_LIMIT
from consumers.noting import TYPES, notes_of
from consumers.scheduling import EVENTS_A_FIRE, EVENTS_A_ROUND, look, needs
from tests.support.conducting import MemoryWorld
from tests.support.schedules import HOUR, SECOND, define

FIRES = EVENTS_A_ROUND // EVENTS_A_FIRE


@pytest.mark.parametrize(("policy", "planned"), [("last", FIRES), ("skip", AGENDA_LIMIT)])
async def test_a_round_plans_no_more_than_it_may_add_the_events_of(policy: str, planned: int) -> None:
    world, given = MemoryWorld(), dict[str, Any](catch_up={"policy": policy})
    at = world.hands.now()
    for number in range(AGENDA_LIMIT):
        await define(world, at - SECOND, f"S{number}", interval=2 * HOUR, start=at, **given)
    world.hands.move(HOUR)
    seat = MemorySeat(world.log, "conductor", world.turn)
    page = await seat.page(1000, TYPES)
    async with seat.turn() as turn:
        await turn.note(await notes_of(turn, page.events))
        agenda = (await turn.survey(AGENDA_LIMIT, 1)).agenda
        assert len(agenda.planned) == AGENDA_LIMIT

        plans = await look(turn, agenda, dict(await turn.load(sorted(needs(agenda)))), await turn.now())

    assert len(plans) == planned
