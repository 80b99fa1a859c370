"""A workflow of several messages, and one that waits for what nobody has submitted, once more from their failures."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain import events as e
from domain.messages import Cause
from domain.ports.broker import Delivery
from domain.ports.handling import NameKey
from domain.recorded import new_events
from tests.support.commands import COMMAND, COMMAND_2, COMMAND_3, Desk, command, needing, submit, task
from tests.support.ended_tasks import NOW

CAUSE = Cause("chain", "a", "conductor")
HOUR = timedelta(hours=1)


def part(number: int, *tasks: dict[str, Any], more: bool = True) -> Delivery:
    data = {"workflow_id": "F1", "tasks": tasks, **({"more": True} if more else {})}
    return command("task.submit-workflow.v1", data, UUID(int=COMMAND.int + 10 + number))


def retry() -> Delivery:
    return command("workflow.retry.v1", {"workflow_id": "F1"}, COMMAND_3)


def streams(desk: Desk) -> dict[str, UUID]:
    return {one.task_id: row.stream for row in desk.store.log.events if isinstance(one := row.event(), e.TaskSubmitted)}


def history(desk: Desk, name: str) -> list[e.Event]:
    return [row.event() for row in desk.store.log.events if row.stream == streams(desk)[name]]


def end(desk: Desk, *ends: e.TaskEvent) -> None:
    """The tasks end so, and F1 with them."""
    for one in ends:
        name = one.task_id
        desk.store.log.append(new_events(streams(desk)[name], len(history(desk, name)), "default", [one], CAUSE))
    whole = [row for row in desk.store.log.events if row.type.startswith("workflow.")]
    over = e.WorkflowFinished(workflow_id="F1", failed=len(ends))
    desk.store.log.append(new_events(whole[0].stream, len(whole), "default", [over], CAUSE))


async def test_the_tasks_of_all_messages_run_again() -> None:
    desk = Desk()
    await desk.handle([part(1, needing("a"), needing("b", "a"))])
    await desk.handle([part(2, needing("c", "b"), more=False)])
    failed = e.TaskFailed(task_id="b", reason="exit-nonzero", runs=1)
    end(desk, e.TaskSucceeded(task_id="a", runs=1), failed, e.TaskSkipped(task_id="c", because="b"))

    reply = await desk.reply(retry())

    assert reply.outcome == "accepted"
    submitted = desk.store.log.load([reply.id])[reply.id][0].event() if reply.id else None
    assert isinstance(submitted, e.WorkflowSubmitted)
    assert [(node.task_id, node.depends_on) for node in submitted.tasks] == [("b:2", ("a",)), ("c:2", ("b:2",))]
    assert submitted.open is None


async def test_a_task_that_waited_for_one_that_nobody_has_submitted_waits_anew() -> None:
    desk = Desk()
    await desk.handle([part(1, needing("a", "~far"), more=False)])
    end(desk, e.TaskExpired(task_id="a", reason="forward-deadline", because="far"))
    desk.clock.move(3 * HOUR)

    assert (await desk.reply(retry())).outcome == "accepted"

    blocked = e.TaskBlocked(task_id="a:2", by=(e.Blocker(task_id="far", forward_until=NOW + 4 * HOUR),))
    assert history(desk, "a:2")[1] == blocked
    await desk.handle([submit({"task_id": "far"}, COMMAND_2)])
    first = history(desk, "a:2")[0]
    assert isinstance(first, e.TaskSubmitted)
    assert first.depends_on == (e.Upstream(task_id="far", stream=streams(desk)["far"]),)


async def test_a_task_that_was_submitted_too_late_is_simply_needed_the_second_time() -> None:
    desk = Desk()
    await desk.handle([part(1, needing("a", "~far"), more=False)])
    end(desk, e.TaskExpired(task_id="a", reason="forward-deadline", because="far"))
    await desk.handle([submit({"task_id": "far"}, COMMAND_2)])

    assert (await desk.reply(retry())).outcome == "accepted"

    assert history(desk, "a:2")[1] == e.TaskBlocked(task_id="a:2", by=(e.Blocker(task_id="far"),))


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "in one batch"])
async def test_a_name_that_others_wait_for_is_not_given_to_a_task_that_runs_again(together: bool) -> None:
    desk = Desk()
    await desk.handle([part(1, needing("a"), more=False)])
    end(desk, e.TaskFailed(task_id="a", reason="exit-nonzero", runs=1))

    for deliveries in [[task("other", "~a:2"), retry()]] if together else [[task("other", "~a:2")], [retry()]]:
        await desk.handle(deliveries)

    assert desk.store.names[NameKey("default", "task", "a:2")].promised
    assert "a:3" in streams(desk)


async def test_a_fork_of_a_task_that_waits_for_one_to_come_waits_for_the_same() -> None:
    desk = Desk()
    await desk.handle([task("T1", "~far")])

    assert (await desk.reply(command("task.fork.v1", {"task_id": "T1", "new_task_id": "T2"}, COMMAND_3))).id

    first, blocked = history(desk, "T2")
    assert isinstance(first, e.TaskSubmitted)
    (far,) = first.depends_on
    assert far.stream == desk.store.names[NameKey("default", "task", "far")].stream
    assert blocked == e.TaskBlocked(task_id="T2", by=(e.Blocker(task_id="far", forward_until=NOW + HOUR),))


async def test_a_fork_that_takes_a_promised_name_and_closes_a_cycle_is_refused() -> None:
    desk = Desk()
    await desk.handle([task("T1", "~far")])

    reply = await desk.reply(command("task.fork.v1", {"task_id": "T1", "new_task_id": "far"}, COMMAND_3))

    assert reply.problem is not None
    assert reply.problem.code in ("self-dependency", "dependency-cycle")
    assert desk.store.names[NameKey("default", "task", "far")].promised
