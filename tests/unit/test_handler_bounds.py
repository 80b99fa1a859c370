"""What one sender does must not be felt by the others: replies that cannot be sent, messages of many tasks."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from consumers import handler
from consumers.handler import EVENTS_AT_ONCE, parts
from domain.errors import Unavailable
from domain.ports.broker import Outgoing
from tests.support.commands import COMMAND, COMMAND_2, COMMAND_3, NOOP, Desk, command, submit


@dataclass(slots=True)
class Picky:
    """A publisher whose connection is lost with every message to `forged`."""

    sent: list[Outgoing] = field(default_factory=list[Outgoing])
    tries: int = 0

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self.tries += 1
        if any(message.routing_key == "forged" for message in messages):
            raise Unavailable("broker: connection lost")
        self.sent += messages


async def test_a_reply_that_cannot_be_sent_costs_no_other_its_reply() -> None:
    desk, picky = Desk(), Picky()
    desk.reply_by(picky)

    left = await desk.handle([submit({}, COMMAND), submit({}, COMMAND_2, reply_to="forged"), submit({}, COMMAND_3)])

    assert left == []
    assert [message.correlation_id for message in picky.sent] == [str(COMMAND), str(COMMAND_3)]
    assert len(desk.store.inbox) == 3


async def test_a_broker_that_takes_no_reply_is_not_tried_for_ever() -> None:
    desk, picky = Desk(), Picky()
    desk.reply_by(picky)

    await desk.handle([submit({}, desk.new_id(), reply_to="forged", tag=tag) for tag in range(20)])

    assert picky.tries == 4
    assert len(desk.store.inbox) == 20


async def test_messages_of_many_tasks_are_stored_in_bounded_transactions() -> None:
    desk = Desk()
    many = {"tasks": [NOOP] * 300}
    deliveries = [command("task.submit-tasks.v1", many, desk.new_id(), tag=tag) for tag in range(5)]

    await desk.handle(deliveries)

    assert len(desk.types) == 5 * 600
    assert max(desk.store.appended) <= EVENTS_AT_ONCE


@pytest.mark.parametrize(("seconds", "turns"), [(0.0, True), (3600.0, False)])
async def test_others_of_the_process_have_their_turn_between_commands_that_take_long(
    monkeypatch: pytest.MonkeyPatch, seconds: float, turns: bool
) -> None:
    monkeypatch.setattr(handler, "BREATH_SECONDS", seconds)
    desk, others = Desk(), 0

    async def live() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    living = asyncio.create_task(live())
    await desk.handle([submit({}, desk.new_id(), tag=tag) for tag in range(50)])
    living.cancel()

    assert (others >= 50) is turns


def test_an_item_larger_than_the_bound_goes_alone() -> None:
    desk = Desk()
    items = [item for count in (1, 900, 1) for item in desk.items_of("task.submit-tasks.v1", {"tasks": [NOOP] * count})]

    assert [len(part) for part in parts(items)] == [1, 1, 1]


async def test_tasks_that_name_an_unknown_one_wait_for_it_together() -> None:
    desk = Desk()
    tasks = {"tasks": [{**NOOP, "task_id": "a"}, {**NOOP, "task_id": "b", "depends_on": [{"task_id": "late"}]}]}
    early = command("task.submit-tasks.v1", tasks)

    left = await desk.handle([early], timedelta(0))
    before = list(desk.types)
    await desk.reply(submit({"task_id": "late"}, COMMAND_2))
    rest = await desk.handle(left, timedelta(seconds=1))

    assert (left, before, rest) == ([early], [], [])
    assert desk.types[-1] == "task.blocked.v1"
