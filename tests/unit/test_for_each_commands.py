"""Tasks with `for_each` as they are submitted, refused, changed by their children's names, and run once more."""

import json
from bisect import bisect_left
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain import events as e
from domain.errors import TooLarge
from domain.filling import reading_as
from domain.folding import task_of
from domain.ids import child_stream
from domain.messages import Cause, Json
from domain.recorded import new_events
from domain.schedule import Fire, Schedule, check
from domain.schedule_spec import ScheduleSpec
from domain.specs import TaskSpec
from domain.spreading import children
from domain.task import Gather, decide
from domain.task_states import Spread
from domain.task_type import Types
from tests.support.commands import COMMAND_2, COMMAND_3, Desk, command
from tests.support.ended_tasks import NOW
from tests.support.task_states import fold

CAUSE = Cause("chain", "a", "saga")
TYPE: dict[str, Any] = {
    "task_type": "load",
    "image": "busybox",
    "command": ["load", "{{input.n}}"],
    "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}


def each(items: Json, child: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"task_id": "each", "for_each": {"items": items, "task": child or {"executor": "noop"}}, **more}


async def reply(desk: Desk, data: dict[str, Any], id: UUID = COMMAND_2, type: str = "task.submit.v1") -> Any:
    return await desk.reply(command(type, data, id))


async def history(desk: Desk, id: UUID) -> list[e.Event]:
    return [event.event() for event in desk.store.log.events if event.stream == id]


async def spread(desk: Desk, parent: UUID) -> None:
    """What the conductor does with all children at once."""
    state = task_of(desk.store.log.load([parent])[parent])
    assert isinstance(state, Spread)
    for index, events in enumerate(children(state, range(state.facts.children or 0), {})):
        desk.store.log.append(new_events(child_stream(parent, index), 0, "default", events, CAUSE))


async def test_one_that_waits_for_nothing_is_spread_at_once() -> None:
    desk = Desk()
    said = await reply(desk, each({"count": 3}))
    submitted, first = await history(desk, said.id)
    assert isinstance(submitted, e.TaskSubmitted)
    assert first == e.TaskSpread(task_id="each", children=3)


async def test_what_its_items_and_its_children_read_must_be_waited_for() -> None:
    desk = Desk()
    await reply(desk, {"task_id": "a", "executor": "noop"}, UUID(int=9))
    items = "{{tasks.a.result.items}}"
    refused = await reply(desk, each(items))
    assert (refused.problem.code, refused.outcome) == ("template-not-a-dependency", "rejected")
    to = {"executor": "noop", "input": {"to": "{{tasks.a.result.to}}"}}
    assert (await reply(desk, each([1], to), COMMAND_3)).problem.code == "template-not-a-dependency"

    said = await reply(desk, each(items, to, depends_on=[{"task_id": "a"}]), UUID(int=7))
    submitted, blocked = await history(desk, said.id)
    assert isinstance(submitted, e.TaskSubmitted)
    assert submitted.reads == ("a",)
    assert isinstance(blocked, e.TaskBlocked)


@pytest.mark.parametrize(
    ("data", "code", "detail"),
    [
        (each([1], executor="noop"), "schema", "for_each runs nothing itself: put executor into for_each.task"),
        (each([1], input={}), "schema", "for_each runs nothing itself: put input into for_each.task"),
        (each([1], retry={}), "schema", "for_each runs nothing itself: put retry into for_each.task"),
        (each([1], {"executor": "noop", "task_id": "x"}), "unknown-field", "for_each.task.task_id"),
        (each([1], {"executor": "noop", "depends_on": []}), "unknown-field", "for_each.task.depends_on"),
        (each([1], {"executor": "noop", "for_each": {}}), "unknown-field", "for_each.task.for_each"),
        (each({"count": 10_001}), "schema", "for_each.items.count"),
        (each(7), "schema", "for_each.items"),
        (each("all of them"), "bad-template", "for_each.items: it must be one template that stands for a list"),
        (each("{{tasks.a.status}}"), "bad-template", "for_each.items: it must be one template that stands for a list"),
        (each([1], {"executor": "noop", "input": {"a": "x" * 32_768}}), "too-large", "more than 32768 bytes"),
        (
            each([{}], {"executor": "noop", "input": {"a": "{{item.a}}"}}),
            "template-missing-field",
            'for_each.task.input.a: {{item.a}}: item 0 is an object without "a"',
        ),
        (
            each([1], {"task_type": "nothing"}),
            "unknown-task-type",
            "for_each.task.task_type: nothing is not registered",
        ),
        (
            {"task_id": "plain", "executor": "noop", "input": {"a": "{{item}}"}},
            "bad-template",
            "input.a: {{item}} is for the task of a for_each, and this is none",
        ),
    ],
)
async def test_what_cannot_be_is_refused_by_its_name(data: dict[str, Any], code: str, detail: str) -> None:
    desk = Desk()
    refused = await reply(desk, data)
    assert refused.problem is not None
    assert refused.problem.code == code
    assert detail in f"{refused.problem.detail} {refused.problem.errors}"
    assert desk.store.log.events == []


async def test_its_children_have_the_task_type_as_it_was_and_an_item_that_does_not_fit_fails_one() -> None:
    desk = Desk()
    await reply(desk, TYPE, UUID(int=9), "task-type.put.v1")
    said = await reply(desk, each([7, "x"], {"task_type": "load", "input": {"n": "{{item}}"}}))
    await reply(desk, {**TYPE, "command": ["other"]}, UUID(int=8), "task-type.put.v1")

    await spread(desk, said.id)

    good, _ = await history(desk, child_stream(said.id, 0))
    assert isinstance(good, e.TaskSubmitted)
    assert good.filled is not None
    assert good.filled.container is not None
    assert (good.filled.container.command, good.task_type_version, good.input_schema) == (("load", "7"), 1, None)
    _, bad = await history(desk, child_stream(said.id, 1))
    assert isinstance(bad, e.TaskFailed)
    assert bad.reason == "bad-input"

    state = task_of(desk.store.log.load([said.id])[said.id])
    end = decide(state, Gather({"succeeded": 1, "failed": 1}), NOW)
    desk.store.log.append(new_events(said.id, 2, "default", end, CAUSE))
    again = await reply(desk, {"task_id": "each"}, COMMAND_3, "task.retry.v1")
    await spread(desk, again.id)
    assert [len(await history(desk, child_stream(again.id, n))) for n in range(2)] == [2, 2]
    assert (await history(desk, child_stream(again.id, 1)))[1] == bad.model_copy(update={"task_id": f"{again.id}[1]"})


@pytest.mark.parametrize("named", ["each", None])
async def test_a_child_is_changed_by_its_name(named: str | None) -> None:
    desk = Desk()
    said = await reply(desk, {**each({"count": 2}), "task_id": named})
    await spread(desk, said.id)

    done = await reply(desk, {"task_id": f"{named or said.id}[1]"}, COMMAND_3, "task.cancel.v1")
    gone = await reply(desk, {"task_id": f"{named or said.id}[2]"}, UUID(int=9), "task.cancel.v1")

    assert (done.outcome, done.id) == ("accepted", child_stream(said.id, 1))
    assert gone.problem.code == "not-found"


async def test_one_whose_items_are_known_runs_once_more_with_all_its_children() -> None:
    desk = Desk()
    said = await reply(desk, each([1, 2]))
    state = task_of(desk.store.log.load([said.id])[said.id])
    end = decide(state, Gather({"failed": 2}), NOW)
    desk.store.log.append(new_events(said.id, 2, "default", end, CAUSE))

    again = await reply(desk, {"task_id": "each"}, COMMAND_3, "task.retry.v1")

    assert (await history(desk, again.id))[1] == e.TaskSpread(task_id=str(again.id), children=2)


async def test_one_that_read_its_items_is_forked_not_retried() -> None:
    desk = Desk()
    await reply(desk, {"task_id": "a", "executor": "noop"}, UUID(int=9))
    said = await reply(desk, each("{{tasks.a.result}}", depends_on=[{"task_id": "a"}]))
    await reply(desk, {"task_id": "each"}, UUID(int=5), "task.cancel.v1")

    refused = await reply(desk, {"task_id": "each"}, COMMAND_3, "task.retry.v1")
    forked = await reply(desk, {"task_id": "each"}, UUID(int=6), "task.fork.v1")

    assert refused.problem.code == "bad-state"
    assert "fork it" in refused.problem.detail
    first, blocked = await history(desk, forked.id)
    assert isinstance(first, e.TaskSubmitted)
    assert (first.reads, type(blocked)) == (("a",), e.TaskBlocked)
    assert (await history(desk, said.id))[-1].TYPE == "task.cancelled.v1"


async def test_a_child_is_forked_with_its_item_in_its_place_as_text() -> None:
    desk = Desk()
    said = await reply(desk, each(["{{plain}}"], {"executor": "noop", "input": {"a": "{{item}}"}}))
    await spread(desk, said.id)

    forked = await reply(desk, {"task_id": "each[0]", "changes": {"priority": 9}}, COMMAND_3, "task.fork.v1")

    first = (await history(desk, forked.id))[0]
    assert isinstance(first, e.TaskSubmitted)
    assert first.filled is not None
    assert (first.filled.input, first.spec.priority, first.child_of) == ({"a": "{{plain}}"}, 9, None)


def test_a_workflow_that_runs_once_more_has_it_read_the_new_tasks() -> None:
    child = {"executor": "noop", "input": {"a": "{{item}} {{tasks.b.status}}"}}
    spec = TaskSpec.model_validate_json(json.dumps(each("{{tasks.a.result}}", child)))

    again = reading_as(spec, {"a": "a:2", "b": "b:2"}).for_each

    assert again is not None
    assert again.items == '{{tasks["a:2"].result}}'
    assert again.task.input == {"a": '{{item}} {{tasks["b:2"].status}}'}


def test_a_schedule_tells_the_children_of_a_fire_their_time() -> None:
    child = {"container": {"image": "busybox", "command": ["echo", "{{item}}"]}}
    task = {"for_each": {"items": ["a"], "task": child}}
    spec = ScheduleSpec.model_validate_json(json.dumps({"interval": "PT1H", "task": task}))
    check(spec, NOW, Types("base"))

    fire = Fire(Schedule(UUID(int=1), 1, "hourly", spec, NOW), NOW)
    state = fold(*fire.events(UUID(int=2), (), Types("base"))[1])

    assert isinstance(state, Spread)
    [[first, _]] = children(state, range(1), {})
    assert isinstance(first, e.TaskSubmitted)
    container = first.work.container
    assert container is not None
    assert (container.command, container.env["TALLY_SCHEDULE"]) == (("echo", "a"), "hourly")


def test_a_schedule_whose_children_have_no_room_for_what_a_fire_tells_them_is_refused_at_once() -> None:
    def put(text: int) -> ScheduleSpec:
        child = {"container": {"image": "busybox", "command": ["x" * text]}}
        task = {"for_each": {"items": [1], "task": child}}
        return ScheduleSpec.model_validate_json(json.dumps({"interval": "PT1H", "task": task}))

    def fires(text: int) -> bool:
        schedule = Schedule(UUID(int=1), 1, "x" * 128, put(text), NOW)
        try:
            return bool(Fire(schedule, NOW + timedelta(microseconds=1)).events(UUID(int=2), (), Types("base")))
        except TooLarge:
            return False

    most = bisect_left(range(40_000), True, key=lambda text: not fires(text)) - 1
    check(put(most), NOW, Types("base"))
    with pytest.raises(TooLarge, match=r"^task\.for_each\.task: more than 32768 bytes"):
        check(put(most + 1), NOW, Types("base"))


async def test_a_spread_one_is_neither_paused_nor_put_before_others() -> None:
    desk = Desk()
    await reply(desk, each([1]))
    for verb, more in (("task.pause.v1", {}), ("task.set-priority.v1", {"priority": 9})):
        refused = await reply(desk, {"task_id": "each", **more}, UUID(int=len(verb)), verb)
        assert refused.problem.code == "bad-state"
        assert "has been spread over its children: ask this of its children" in refused.problem.detail
