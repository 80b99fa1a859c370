"""Tasks with templates as they are submitted, refused, and run once more."""

from typing import Any
from uuid import UUID

import pytest

from domain import events as e
from domain.filling import Work, fill
from domain.messages import Cause
from domain.recorded import new_events
from domain.specs import Container
from domain.templates import Known
from tests.support.commands import COMMAND_2, COMMAND_3, Desk, command, submit

READER: dict[str, Any] = {
    "task_id": "T1",
    "depends_on": [{"task_id": "T0"}],
    "input": {"rows": "{{tasks.T0.result.rows}}", "as": "{{tasks.T0.status}}"},
}
CAUSE = Cause("chain", "a", "saga")


async def history(desk: Desk, id: UUID | None) -> list[e.Event]:
    return [event.event() for event in desk.store.log.events if event.stream == id]


async def submitted(desk: Desk, data: dict[str, Any], id: UUID = COMMAND_2) -> e.TaskSubmitted:
    reply = await desk.reply(submit(data, id))
    assert reply.outcome == "accepted", reply.problem
    first = (await history(desk, reply.id))[0]
    assert isinstance(first, e.TaskSubmitted)
    return first


async def test_a_submission_says_which_tasks_its_templates_read() -> None:
    desk = Desk()
    await desk.reply(submit({"task_id": "T0"}))
    first = await submitted(desk, READER)
    assert (first.reads, first.filled) == (("T0",), None)


async def test_a_task_without_templates_says_nothing_of_them() -> None:
    first = await submitted(Desk(), {"task_id": "T1", "input": {"rows": 7}})
    assert b"reads" not in first.body()
    assert b"filled" not in first.body()


async def test_what_reads_no_other_task_is_filled_at_once() -> None:
    container = {"image": "busybox", "command": ["load", "{{input.day}}"], "env": {"BRACES": '{{"{{"}}'}}
    data = {"executor": "docker", "container": container, "input": {"day": "Monday"}}
    first = await submitted(Desk(), data)
    assert first.reads is None
    assert first.filled == Work(
        container=Container(image="busybox", command=("load", "Monday"), env={"BRACES": "{{"}),
        input={"day": "Monday"},
    )


async def test_a_registered_type_takes_templates_where_it_takes_text() -> None:
    desk = Desk()
    await desk.reply(submit({"task_id": "T0"}))
    given = {"seconds": 1, "message": "{{tasks.T0.result}}"}
    data = {"executor": "docker", "task_type": "sleep", "input": given, "depends_on": READER["depends_on"]}
    first = await submitted(desk, data)
    assert first.reads == ("T0",)
    filled = fill(first.work, {"T0": Known("succeeded", result="{{tasks.T9.result}}")}).container
    assert filled is not None
    assert (filled.command or ())[-2:] == ("1", "{{tasks.T9.result}}")


DOCKER: dict[str, Any] = {"executor": "docker", "input": {"day": "Monday"}}


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (
            {"input": {"x": "{{nothing}}"}},
            "bad-template",
            "input.x: {{nothing}} names nothing that can be filled in; write",
        ),
        ({"input": {"x": "{{tasks.T0.result}}"}}, "template-not-a-dependency", "add T0 to its depends_on"),
        (
            {**DOCKER, "container": {"image": "busybox", "command": ["{{input.night}}"]}},
            "template-missing-field",
            'container.command[0]: {{input.night}}: input is an object without "night"',
        ),
        (
            {**DOCKER, "container": {"image": "b", "command": ["{{input.x}}" * 4]}, "input": {"x": "x" * 20_000}},
            "template-too-large",
            "container.command[0]: more than 65536 bytes when it is filled",
        ),
        (
            {"depends_on": [{"task_id": "T0"}], "input": {"x": "{{tasks.T9.status}}"}},
            "template-not-a-dependency",
            "add T9 to its depends_on",
        ),
    ],
)
async def test_templates_that_can_never_be_filled_are_refused_and_nothing_is_recorded(
    data: dict[str, Any], code: str, says: str
) -> None:
    desk = Desk()
    await desk.reply(submit({"task_id": "T0"}))
    recorded = len(desk.store.log.events)

    reply = await desk.reply(submit({"task_id": "T1", **data}, COMMAND_2))

    assert reply.problem is not None
    assert reply.problem.code == code
    assert says in reply.problem.detail
    assert "task T1" in reply.problem.detail
    assert len(desk.store.log.events) == recorded
    assert (await desk.reply(submit({"task_id": "T1"}, COMMAND_3))).outcome == "accepted"


async def test_one_bad_template_refuses_a_whole_workflow() -> None:
    desk = Desk()
    tasks = [{"task_id": "a", "executor": "noop"}, {**READER, "executor": "noop", "depends_on": [{"task_id": "a"}]}]
    reply = await desk.reply(command("task.submit-workflow.v1", {"tasks": tasks}))
    assert reply.problem is not None
    assert reply.problem.code == "template-not-a-dependency"
    assert desk.store.log.events == []


async def test_more_tasks_are_not_read_than_one_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.submitting.MOST_READ", 1)
    desk = Desk()
    tasks = [{"task_id": name, "executor": "noop"} for name in ("a", "b")]
    asks: dict[str, Any] = {"executor": "noop", "input": {"a": "{{tasks.a.status}}", "b": "{{tasks.b.status}}"}}
    asks["depends_on"] = [{"task_id": "a"}, {"task_id": "b"}]
    reply = await desk.reply(command("task.submit-workflow.v1", {"tasks": [*tasks, asks]}))
    assert reply.problem is not None
    assert reply.problem.code == "bad-template"


async def ended(desk: Desk, *events: e.TaskEvent) -> None:
    await desk.reply(submit({"task_id": "T0"}))
    reply = await desk.reply(submit(READER, COMMAND_2))
    assert reply.id is not None
    desk.store.log.append(new_events(reply.id, 2, "default", events, CAUSE))


async def test_a_retry_runs_with_what_the_old_task_was_filled_with() -> None:
    desk = Desk()
    filled = e.TaskFilled(task_id="T1", input={"rows": 7, "as": "succeeded"})
    await ended(desk, filled, e.TaskCancelled(task_id="T1", by="alice"))

    reply = await desk.reply(command("task.retry.v1", {"task_id": "T1"}, COMMAND_3))

    first, queued = await history(desk, reply.id)
    assert isinstance(first, e.TaskSubmitted)
    assert isinstance(queued, e.TaskQueued)
    assert (first.reads, first.filled) == (None, Work(input={"rows": 7, "as": "succeeded"}))
    assert first.work == first.filled


async def test_a_task_that_was_never_filled_is_not_retried_without_what_it_reads() -> None:
    desk = Desk()
    await ended(desk, e.TaskSkipped(task_id="T1", because="T0"))
    recorded = len(desk.store.log.events)

    reply = await desk.reply(command("task.retry.v1", {"task_id": "T1"}, COMMAND_3))

    assert reply.problem is not None
    assert reply.problem.code == "bad-state"
    assert "submit it again" in reply.problem.detail
    assert len(desk.store.log.events) == recorded
