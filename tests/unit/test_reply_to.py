"""Answers go to their sender's own queue: never into one of the platform's, whatever the message names."""

from typing import Any

import pytest

from infra.topology import TOPOLOGY, work_queue
from tests.support.commands import COMMAND, Desk, command, submit
from tests.unit.test_dead_queue import burying, dead

INTERNAL = [*(queue.name for queue in TOPOLOGY.queues), work_queue("w1"), "task.work.", "task.unrouted"]
REGISTER: dict[str, Any] = {"worker_id": "w1", "instance": str(COMMAND), "engine": "engine-1"}


def outcomes(desk: Desk) -> list[str | None]:
    """What was decided of each message: the code of its refusal."""
    replies = [outcome.reply for outcome in desk.store.inbox.values()]
    return [reply.problem.code if reply.problem else None for reply in replies]


@pytest.mark.parametrize("queue", INTERNAL)
async def test_a_command_that_wants_its_answer_in_a_queue_of_the_platform_is_refused_in_silence(queue: str) -> None:
    desk = Desk()

    await desk.handle([submit({}, reply_to=queue)])

    assert (outcomes(desk), desk.types, desk.sent.messages) == (["bad-reply-to"], [], [])


@pytest.mark.parametrize(
    "refused",
    [
        submit({"depends_on": "no list"}, reply_to="task.beats.handler"),
        command("worker.register.v1", REGISTER, reply_to="task.work.w1"),
        submit({}, reply_to="task.beats.handler", body=b'{"executor": "' + b"x" * (2 << 20) + b'"}'),
    ],
    ids=["schema", "registration among commands", "too large"],
)
async def test_nor_does_any_other_refusal_of_a_command_arrive_there(refused: Any) -> None:
    desk = Desk()

    await desk.handle([refused])

    assert (outcomes(desk), desk.sent.messages) == (["bad-reply-to"], [])


async def test_nor_does_the_refusal_of_a_command_that_expired() -> None:
    desk = Desk()

    await burying(desk)([dead(submit({}, reply_to="task.beats.handler"))])

    assert (outcomes(desk), desk.sent.messages) == (["expired-in-queue"], [])


async def test_nor_does_the_answer_to_a_command_that_was_accepted_before() -> None:
    desk = Desk()
    await desk.reply(submit({}))

    await desk.handle([submit({}, reply_to="task.beats.handler")])

    assert (outcomes(desk), len(desk.sent.messages)) == ([None], 1)


@pytest.mark.parametrize("queue", ["amq.rabbitmq.reply-to.g1h2AA==", "amq.gen-x", "client.replies", "tasks.mine"])
async def test_any_other_queue_may_be_named(queue: str) -> None:
    desk = Desk()

    await desk.handle([submit({}, reply_to=queue)])

    assert [message.routing_key for message in desk.sent.messages] == [queue]
    assert outcomes(desk) == [None]


async def test_a_worker_that_registers_is_answered_on_its_own_queue() -> None:
    desk = Desk()

    await desk.report([command("worker.register.v1", REGISTER, reply_to=work_queue("w1"))])

    assert [message.routing_key for message in desk.sent.messages] == [work_queue("w1")]


@pytest.mark.parametrize(
    "report",
    [
        command("worker.register.v1", REGISTER, reply_to="task.beats.handler"),
        command("reports.v1", {"worker_id": "w1"}, reply_to="task.work.w1"),
    ],
    ids=["a registration elsewhere", "reports that are none"],
)
async def test_and_nothing_else_that_it_says_is_answered_in_a_queue_of_the_platform(report: Any) -> None:
    desk = Desk()

    await desk.report([report])

    assert (outcomes(desk), desk.sent.messages) == (["bad-reply-to"], [])
