"""`workflow.retry.v1`: a finished workflow is run once more from its failed tasks, as a new one."""

from typing import Any
from uuid import UUID

import pytest

from domain import events as e
from domain.messages import Cause
from domain.ports.broker import Delivery
from domain.recorded import new_events
from tests.support.commands import COMMAND_2, COMMAND_3, NOOP, Desk, command, submit

COMMAND_4 = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7c04")
CAUSE = Cause("chain", "a", "conductor")
F1: dict[str, Any] = {
    "workflow_id": "F1",
    "tasks": [
        {**NOOP, "task_id": "a"},
        {**NOOP, "task_id": "b", "depends_on": [{"task_id": "a"}]},
        {**NOOP, "task_id": "c", "depends_on": [{"task_id": "b"}]},
    ],
}


def retry(id: UUID = COMMAND_3, **asked: Any) -> Delivery:
    return command("workflow.retry.v1", {"workflow_id": "F1", **asked}, id)


async def desk_with(finished: bool = True, **ends: e.TaskEvent) -> Desk:
    """F1, whose tasks have ended as told, and itself with them."""
    desk = Desk()
    whole = await desk.reply(command("task.submit-workflow.v1", F1))
    assert whole.id is not None
    streams = stream_of(desk, whole.id)
    for name, end in ends.items():
        desk.store.log.append(new_events(streams[name], 2, "default", [end], CAUSE))
    if finished:
        over = e.WorkflowFinished(workflow_id="F1", succeeded=1, failed=1, skipped=1)
        desk.store.log.append(new_events(whole.id, 1, "default", [over], CAUSE))
    return desk


async def failed() -> Desk:
    return await desk_with(
        a=e.TaskSucceeded(task_id="a", runs=1),
        b=e.TaskFailed(task_id="b", reason="exit-nonzero", runs=1),
        c=e.TaskSkipped(task_id="c", because="b"),
    )


def stream_of(desk: Desk, workflow: UUID | None) -> dict[str, UUID]:
    [submitted] = [one.event() for one in desk.store.log.events if one.stream == workflow and one.version == 1]
    assert isinstance(submitted, e.WorkflowSubmitted)
    return {node.task_id: node.stream for node in submitted.tasks}


def made(desk: Desk, stream: UUID) -> list[e.Event]:
    return [recorded.event() for recorded in desk.store.log.events if recorded.stream == stream]


async def test_what_failed_and_what_waited_for_it_is_a_new_workflow_and_the_old_one_stays() -> None:
    desk = await failed()
    old = desk.store.log.events[:]

    reply = await desk.reply(retry(new_workflow_id="F2"))

    assert (reply.outcome, reply.workflow_id) == ("accepted", "F2")
    streams = stream_of(desk, reply.id)
    assert list(streams) == ["b:2", "c:2"]
    a, b = stream_of(desk, old[0].stream)["a"], stream_of(desk, old[0].stream)["b"]
    submitted, blocked = made(desk, streams["b:2"])
    assert isinstance(submitted, e.TaskSubmitted)
    assert submitted.retry_of == e.Upstream(task_id="b", stream=b)
    assert submitted.depends_on == (e.Upstream(task_id="a", stream=a),)
    assert (submitted.workflow_id, submitted.workflow) == ("F2", reply.id)
    assert blocked == e.TaskBlocked(task_id="b:2", by=(e.Blocker(task_id="a"),))
    assert made(desk, streams["c:2"])[1] == e.TaskBlocked(task_id="c:2", by=(e.Blocker(task_id="b:2"),))
    assert desk.store.log.events[: len(old)] == old


async def test_the_same_retry_under_the_same_name_is_one_workflow_and_another_name_another() -> None:
    desk = await failed()

    first = await desk.reply(retry(new_workflow_id="F2"))
    same = await desk.reply(retry(COMMAND_2, new_workflow_id="F2"))
    other = await desk.reply(retry(COMMAND_4))

    assert (same.outcome, same.id) == ("accepted", first.id)
    assert other.workflow_id == str(other.id)
    assert list(stream_of(desk, other.id)) == ["b:3", "c:3"]
    assert desk.types.count("workflow.submitted.v1") == 3


async def test_two_retries_in_one_batch_get_names_of_their_own() -> None:
    desk = await failed()

    await desk.handle([retry(), retry(COMMAND_4)])

    first, second = desk.sent.replies[-2:]
    assert [list(stream_of(desk, reply.id)) for reply in (first, second)] == [["b:2", "c:2"], ["b:3", "c:3"]]


async def test_a_name_that_is_taken_meanwhile_is_not_given_twice() -> None:
    desk = await failed()
    await desk.reply(submit({"task_id": "c:2"}, COMMAND_2))

    reply = await desk.reply(retry())

    assert list(stream_of(desk, reply.id)) == ["b:3", "c:3"]


@pytest.mark.parametrize(
    ("asked", "code", "says"),
    [
        ({"workflow_id": "nobody"}, "not-found", "workflow_id: no workflow nobody in namespace default"),
        ({"new_workflow_id": "F1"}, "workflow-id-taken", "new_workflow_id: F1 names another workflow"),
        ({"new_workflow_id": "not a name"}, "schema", "new_workflow_id"),
    ],
)
async def test_what_cannot_be_run_again_is_refused_and_leaves_nothing(
    asked: dict[str, Any], code: str, says: str
) -> None:
    desk = await failed()
    before = len(desk.types)

    reply = await desk.reply(retry(**asked))

    assert reply.problem is not None
    assert reply.problem.code == code
    assert says in reply.problem.detail
    assert len(desk.types) == before


async def test_a_workflow_that_has_not_finished_is_not_run_again() -> None:
    desk = await desk_with(finished=False, a=e.TaskSucceeded(task_id="a", runs=1))

    reply = await desk.reply(retry())

    assert reply.problem is not None
    assert reply.problem.code == "bad-state"
    assert "has not finished: cancel it first, or wait for its end" in reply.problem.detail


@pytest.mark.parametrize("asked", ["nobody", "00000000-0000-7000-8000-000000000001", "STREAM", "TASK"])
async def test_what_is_foreign_or_no_workflow_looks_like_what_is_unknown(asked: str) -> None:
    desk = Desk()
    there = await desk.reply(command("task.submit-workflow.v1", {**F1, "namespace": "other"}))
    task = await desk.reply(submit({}, COMMAND_2))
    ref = asked.replace("STREAM", str(there.id)).replace("TASK", str(task.id))

    reply = await desk.reply(retry(workflow_id=ref))

    assert reply.problem is not None
    detail = f"workflow_id: no workflow {ref} in namespace default; check the id and the namespace"
    assert (reply.problem.code, reply.problem.detail) == ("not-found", detail)
