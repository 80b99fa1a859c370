"""`task.retry.v1`: a task that has ended is run once more, as a new task."""

from typing import Any
from uuid import UUID

import pytest

from domain import events as e
from domain.messages import Cause
from domain.ports.broker import Delivery
from domain.recorded import new_events
from tests.support.commands import COMMAND_2, COMMAND_3, Desk, command, submit

SPEC: dict[str, Any] = {
    "task_id": "T1",
    "name": "nightly",
    "priority": 7,
    "labels": {"team": "data"},
    "retry": {"max_runs": 2},
    "not_before": "2020-01-01T00:00:00Z",
    "expires_at": "2020-01-02T00:00:00Z",
    "depends_on": [{"task_id": "T0"}],
}


COMMAND_4 = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7c04")


def retry(id: UUID = COMMAND_3, **given: Any) -> Delivery:
    return command("task.retry.v1", {"task_id": "T1", **given}, id)


async def ended() -> Desk:
    """T1 depended on T0 and was skipped."""
    desk = Desk()
    await desk.reply(submit({"task_id": "T0"}))
    skipped = await desk.reply(submit(SPEC, COMMAND_2))
    assert skipped.id is not None
    end = e.TaskSkipped(task_id="T1", because="T0")
    desk.store.log.append(new_events(skipped.id, 2, "default", [end], Cause("chain", "a", "saga")))
    return desk


async def test_an_ended_task_is_run_once_more_as_a_new_one_that_waits_for_nothing() -> None:
    desk = await ended()

    reply = await desk.reply(retry(new_task_id="T1.again"))

    assert (reply.outcome, reply.task_id) == ("accepted", "T1.again")
    submitted, queued = [event.event() for event in desk.store.log.events if event.stream == reply.id]
    assert isinstance(submitted, e.TaskSubmitted)
    assert isinstance(queued, e.TaskQueued)
    assert submitted.retry_of is not None
    assert submitted.retry_of.task_id == "T1"
    spec = submitted.spec
    assert (spec.task_id, spec.name, spec.priority, spec.labels) == ("T1.again", "nightly", 7, {"team": "data"})
    assert (spec.depends_on, spec.not_before, spec.expires_at, submitted.depends_on) == ((), None, None, ())


async def test_without_a_name_each_retry_is_another_task() -> None:
    desk = await ended()

    first, second = await desk.reply(retry()), await desk.reply(retry(COMMAND_4))

    assert first.task_id == str(first.id)
    assert first.id != second.id


async def test_the_same_retry_under_the_same_name_is_one_task() -> None:
    desk = await ended()

    first, second = await desk.reply(retry(new_task_id="T2")), await desk.reply(retry(COMMAND_4, new_task_id="T2"))

    assert (second.outcome, second.id) == ("accepted", first.id)
    assert desk.types.count("task.submitted.v1") == 3


async def test_a_name_that_stands_for_another_task_is_not_taken_for_a_retry() -> None:
    desk = await ended()
    await desk.reply(
        submit({**SPEC, "task_id": "plain", "depends_on": [], "not_before": None, "expires_at": None}, COMMAND_4)
    )

    reply = await desk.reply(retry(new_task_id="plain"))

    assert reply.problem is not None
    assert reply.problem.code == "task-id-taken"


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ({"task_id": "T0"}, "bad-state", "task T0 has not ended: cancel it first"),
        ({"task_id": "nobody"}, "not-found", "nobody"),
        ({"new_task_id": "T1"}, "task-id-taken", "new_task_id: T1 is the task that has ended"),
        ({"new_task_id": "T0"}, "task-id-taken", "T0 names another task"),
        ({"new_task_id": "not a name"}, "schema", "new_task_id"),
    ],
)
async def test_what_cannot_be_run_once_more_is_refused_and_leaves_nothing(
    given: dict[str, Any], code: str, says: str
) -> None:
    desk = await ended()
    before = len(desk.types)

    reply = await desk.reply(retry(**given))

    assert reply.problem is not None
    assert reply.problem.code == code
    assert says in reply.problem.detail
    assert len(desk.types) == before
