"""What becomes of messages that the broker gave up on."""

from typing import Any

import pytest

from adapters.in_memory.traces import NoTraces
from consumers.batches import Given
from consumers.dead_queue import ExpiredItems, ReadExpired, last_death
from consumers.handler import Handler
from consumers.items import CommandItems
from consumers.reading import decode, read
from domain.ports.broker import Delivery
from domain.principals import Senders
from infra.topology import COMMANDS_QUEUE, DEAD_QUEUE
from tests.support.commands import ANYONE, COMMAND, Desk, Ids, submit

STRICT = Senders({"client": frozenset({"*"})}, frozenset(), required=True)


def dead(delivery: Delivery, reason: str = "expired", queue: str = COMMANDS_QUEUE) -> Delivery:
    """`delivery` as it arrives once the broker has given up on it; what its sender said of deaths comes behind."""
    newest = {"reason": reason, "queue": queue, "count": 1, "routing-keys": [delivery.routing_key]}
    forged: Any = delivery.headers.get("x-death", [])
    first = {"x-first-death-reason": reason, "x-first-death-queue": queue, "x-first-death-exchange": "task.commands"}
    headers = {**first, **delivery.headers, "x-death": [newest, *forged]}
    return Delivery(1, DEAD_QUEUE, "task.dead", delivery.routing_key, delivery.body, headers, **_same(delivery))


def _same(delivery: Delivery) -> dict[str, Any]:
    names = ("content_type", "message_id", "type", "correlation_id", "reply_to", "user")
    return {name: getattr(delivery, name) for name in names}


def burying(desk: Desk, senders: Senders = ANYONE) -> Handler:
    return Handler(
        DEAD_QUEUE,
        store=desk.store,
        publisher=desk.sent,
        traces=NoTraces(),
        clock=desk.clock,
        given=Given(Ids(), "tallyport/busybox:dev", COMMAND),
        read=ReadExpired(COMMANDS_QUEUE, read),
        items=ExpiredItems(COMMANDS_QUEUE, CommandItems(senders, decode)),
    )


async def test_an_expired_command_gets_an_outcome_and_an_answer() -> None:
    desk = Desk()

    await burying(desk)([dead(submit({}))])

    [reply] = desk.sent.replies
    assert reply.problem is not None
    assert (reply.command_id, reply.outcome, reply.problem.code) == (COMMAND, "rejected", "expired-in-queue")
    assert [outcome.reply for outcome in desk.store.inbox.values()] == [reply]
    assert (desk.types, desk.store.dead_letters) == ([], [])


async def test_a_command_that_was_decided_before_a_copy_of_it_expired_keeps_its_outcome() -> None:
    desk = Desk()
    first = await desk.reply(submit({"task_id": "hello"}))

    await burying(desk)([dead(submit({"task_id": "hello"}))])

    assert desk.sent.replies[-1] == first.model_copy(update={"duplicate": True})
    assert len(desk.store.inbox) == 1


async def test_a_command_that_expired_stays_refused_when_it_is_sent_again() -> None:
    desk = Desk()
    await burying(desk)([dead(submit({}))])

    again = await desk.reply(submit({}))

    assert (again.outcome, again.duplicate) == ("rejected", True)
    assert desk.types == []


@pytest.mark.parametrize(
    ("delivery", "reason", "said"),
    [
        (dead(submit({}), "delivery_limit"), "delivery_limit", COMMANDS_QUEUE),
        (dead(submit({}), queue="task.reports.handler"), "expired", "task.reports.handler"),
        (dead(submit({}, body=b"{")), "expired", "bad-json"),
        (submit({}, queue=DEAD_QUEUE), "dead-lettered", "unknown"),
    ],
    ids=["delivery limit", "a report", "unreadable", "sent here directly"],
)
async def test_what_is_no_expired_command_becomes_a_dead_letter(delivery: Delivery, reason: str, said: str) -> None:
    desk = Desk()

    await burying(desk)([delivery])

    [letter] = desk.store.dead_letters
    assert (letter.queue, letter.reason, desk.store.inbox, desk.sent.messages) == (DEAD_QUEUE, reason, {}, [])
    assert said in letter.detail


async def test_an_expired_command_of_nobody_becomes_a_dead_letter_where_senders_must_be_known() -> None:
    desk = Desk()

    await burying(desk, STRICT)([dead(submit({}, user=None))])

    assert [letter.reason for letter in desk.store.dead_letters] == ["expired"]


async def test_what_a_sender_says_of_deaths_counts_for_nothing() -> None:
    desk = Desk()
    lie = {"x-death": [{"reason": "delivery_limit", "queue": "q"}], "x-first-death-reason": "delivery_limit"}

    await burying(desk)([dead(submit({}, headers=lie))])

    assert desk.store.dead_letters == []
    assert len(desk.store.inbox) == 1


async def test_headers_that_the_broker_added_do_not_make_a_command_unreadable() -> None:
    desk = Desk()

    await burying(desk)([dead(submit({}, headers={f"h{n}": "v" for n in range(256)}))])

    assert len(desk.store.inbox) == 1


@pytest.mark.parametrize(
    "strange", [None, "expired", [], ["expired"], [{}], [{"reason": ["expired"], "queue": None}], [{"reason": "odd"}]]
)
def test_a_death_that_cannot_be_read_is_unknown(strange: object) -> None:
    assert last_death({"x-death": strange})[0] == "dead-lettered"
