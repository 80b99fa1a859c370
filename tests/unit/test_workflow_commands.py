"""What may be commanded of a whole workflow, and what follows."""

import json
from typing import Any

import pytest

from domain import events as e
from domain.errors import BadState
from domain.ids import derived_id
from domain.messages import Cause
from domain.ports.broker import Delivery
from domain.recorded import new_events
from domain.workflow import Cancel, Finish, Workflow, decide, evolve
from tests.support.commands import COMMAND, COMMAND_2, COMMAND_3, NOOP, Desk, command, submit
from tests.support.histories import WORKFLOW

F1: dict[str, Any] = {"workflow_id": "F1", "tasks": [{**NOOP, "task_id": "a"}]}
SUBMITTED = e.WorkflowSubmitted(workflow_id="F1", tasks=())
FINISHED = e.WorkflowFinished(workflow_id="F1", succeeded=1)


def workflow(*events: e.Event) -> Workflow:
    state: Workflow | None = None
    for event in (SUBMITTED, *events):
        state = evolve(state, WORKFLOW, event)
    assert state is not None
    return state


async def test_the_same_workflow_under_the_same_id_is_one_workflow() -> None:
    desk = Desk()
    first = await desk.reply(command("task.submit-workflow.v1", F1))

    second = await desk.reply(command("task.submit-workflow.v1", F1, COMMAND_2))

    assert (second.outcome, second.id, second.workflow_id) == ("accepted", first.id, "F1")
    assert desk.types.count("workflow.submitted.v1") == 1


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"workflow_id": "F1", "tasks": [{**NOOP, "task_id": "b"}]}, "workflow-id-taken"),
        ({"workflow_id": "F2", "tasks": [{**NOOP, "task_id": "a"}]}, "task-id-taken"),
    ],
)
async def test_a_workflow_that_needs_a_name_in_use_is_refused_as_a_whole(other: dict[str, Any], code: str) -> None:
    desk = Desk()

    await desk.handle([command("task.submit-workflow.v1", F1), command("task.submit-workflow.v1", other, COMMAND_2)])

    _, refused = desk.sent.replies
    assert refused.problem is not None
    assert refused.problem.code == code
    assert desk.types.count("workflow.submitted.v1") == 1


@pytest.mark.parametrize("when", ["failed", "finished", "always"])
async def test_under_fail_fast_a_task_of_the_workflow_can_only_need_the_success_of_another(when: str) -> None:
    desk = Desk()
    await desk.reply(submit({"task_id": "before"}))
    tasks: list[dict[str, Any]] = [
        {**NOOP, "task_id": "a", "depends_on": [{"task_id": "before", "when": when}]},
        {**NOOP, "task_id": "b", "depends_on": [{"at_least": 1, "of": [{"task_id": "a", "when": when}]}]},
    ]

    reply = await desk.reply(command("task.submit-workflow.v1", {"on_failure": "fail-fast", "tasks": tasks}, COMMAND_2))

    assert reply.problem is not None
    assert reply.problem.code == "fail-fast-condition"
    assert f"b needs a ({when})" in reply.problem.detail


async def test_a_running_workflow_is_cancelled_by_its_name_or_its_id() -> None:
    desk = Desk()
    created = await desk.reply(command("task.submit-workflow.v1", F1))

    by_name = await desk.reply(command("workflow.cancel.v1", {"workflow_id": "F1", "reason": "wrong day"}, COMMAND_2))
    by_id = await desk.reply(command("workflow.cancel.v1", {"workflow_id": str(created.id)}, COMMAND_3))

    assert (by_name.outcome, by_name.id, by_id.outcome) == ("accepted", created.id, "accepted")
    cancelled = [event.event() for event in desk.store.log.events if event.type == "workflow.cancelled.v1"]
    assert cancelled == [e.WorkflowCancelled(workflow_id="F1", by="client", reason="wrong day")]


async def test_a_workflow_cancelled_twice_in_one_batch_is_cancelled_once() -> None:
    desk = Desk()
    await desk.reply(command("task.submit-workflow.v1", F1))
    cancel = {"workflow_id": "F1"}

    await desk.handle([command("workflow.cancel.v1", cancel, one) for one in (COMMAND_2, COMMAND_3)])

    assert [reply.outcome for reply in desk.sent.replies] == ["accepted"] * 3
    assert desk.types.count("workflow.cancelled.v1") == 1


async def test_a_workflow_may_be_cancelled_in_the_batch_that_submits_it() -> None:
    desk = Desk()
    cancel = command("workflow.cancel.v1", {"workflow_id": "F1"}, COMMAND_2)

    await desk.handle([command("task.submit-workflow.v1", F1), cancel])

    assert [reply.outcome for reply in desk.sent.replies] == ["accepted", "accepted"]
    assert desk.types[-1] == "workflow.cancelled.v1"


async def test_an_unknown_workflow_cannot_be_cancelled() -> None:
    reply = await Desk().reply(command("workflow.cancel.v1", {"workflow_id": "nobody"}))

    assert reply.problem is not None
    assert (reply.problem.code, "nobody" in reply.problem.detail) == ("not-found", True)


@pytest.mark.parametrize(
    ("created", "asked", "name"),
    [
        (command("task.submit.v1", NOOP), "workflow.cancel.v1", "workflow_id"),
        (command("task.submit-workflow.v1", F1), "task.cancel.v1", "task_id"),
    ],
)
async def test_the_id_of_one_kind_of_thing_is_unknown_as_that_of_another(
    created: Delivery, asked: str, name: str
) -> None:
    desk = Desk()
    there = await desk.reply(created)

    reply = await desk.reply(command(asked, {name: str(there.id)}, COMMAND_2))

    assert reply.problem is not None
    assert reply.problem.code == "not-found"


@pytest.mark.parametrize(
    "needs",
    [
        '[{"task_id": "T0"}, {"task_id": "ID"}]',
        '[{"task_id": "T0"}, {"task_id": "ID", "when": "failed"}]',
        '[{"at_least": 2, "of": [{"task_id": "T0"}, {"task_id": "ID"}]}]',
        '[{"task_id": "ID"}, {"at_least": 1, "of": [{"task_id": "T0"}]}]',
    ],
)
async def test_a_task_is_needed_under_one_name(needs: str) -> None:
    desk = Desk()
    there = await desk.reply(submit({"task_id": "T0"}))
    both = json.loads(needs.replace("ID", str(there.id).upper()))

    reply = await desk.reply(submit({"depends_on": both}, COMMAND_2))

    assert reply.problem is not None
    assert reply.problem.code == "duplicate-task-id"
    assert "T0" in reply.problem.detail
    assert "name it once" in reply.problem.detail


async def test_a_task_cannot_depend_on_a_workflow() -> None:
    desk = Desk()
    there = await desk.reply(command("task.submit-workflow.v1", F1))

    reply = await desk.reply(submit({"depends_on": [{"task_id": str(there.id)}]}, COMMAND_2))

    assert reply.problem is not None
    assert reply.problem.code == "unknown-dependency"


async def test_a_workflow_that_has_finished_is_cancelled_by_nobody() -> None:
    desk = Desk()
    created = await desk.reply(command("task.submit-workflow.v1", F1))
    assert created.id is not None
    desk.store.log.append(new_events(created.id, 1, "default", [FINISHED], Cause("chain", "a", "conductor")))

    reply = await desk.reply(command("workflow.cancel.v1", {"workflow_id": "F1"}, COMMAND_2))

    assert reply.problem is not None
    assert reply.problem.code == "bad-state"


def test_a_finished_workflow_cannot_be_cancelled() -> None:
    with pytest.raises(BadState, match="already finished"):
        decide(workflow(FINISHED), Cancel("alice"))


def test_a_cancelled_workflow_finishes_too_and_only_once() -> None:
    cancelled = workflow(e.WorkflowCancelled(workflow_id="F1", by="alice"))

    assert decide(cancelled, Cancel("bob")) == []
    [finished] = decide(cancelled, Finish({"succeeded": 1}))
    assert finished == FINISHED
    assert decide(workflow(FINISHED), Finish({"succeeded": 1})) == []


@pytest.mark.parametrize("event", [FINISHED, e.WorkflowCancelled(workflow_id="F1", by="alice")])
def test_no_history_of_a_workflow_begins_in_its_middle(event: e.Event) -> None:
    with pytest.raises(ValueError, match="cannot follow here"):
        evolve(None, derived_id(COMMAND, "F1"), event)
