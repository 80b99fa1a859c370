"""`task.fork.v1`: a new task from any point of an old one's history, with changes."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import events as e
from domain.filling import Work
from domain.forking import Fork, forked, merged
from domain.ids import child_stream
from domain.messages import Cause
from domain.ports.broker import Delivery
from domain.recorded import new_events
from domain.specs import Container, TaskSpec
from tests.support.commands import COMMAND_2, COMMAND_3, Desk, command, submit
from tests.support.ended_tasks import NOW

COMMAND_4 = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7c04")
COMMAND_5 = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7c05")
SPEC: dict[str, Any] = {
    "task_id": "T1",
    "name": "nightly",
    "container": {"image": "python:3.13-slim", "command": ["python", "-m", "report"], "cpus": 2, "env": {"TZ": "UTC"}},
    "executor": "docker",
    "labels": {"team": "data"},
    "timeouts": {"run": "PT10M"},
    "depends_on": [{"task_id": "T0"}],
}


def fork(id: UUID = COMMAND_3, task_id: str = "T1", **asked: Any) -> Delivery:
    return command("task.fork.v1", {"task_id": task_id, **asked}, id)


async def desk_with(*later: e.TaskEvent) -> Desk:
    """T1, which depends on T0, and what became of it after its first two events."""
    desk = Desk()
    await desk.reply(submit({"task_id": "T0"}))
    old = await desk.reply(command("task.submit.v1", SPEC, COMMAND_2))
    assert old.id is not None
    desk.store.log.append(new_events(old.id, 2, "default", later, Cause("chain", "a", "saga")))
    return desk


def made(desk: Desk, stream: UUID | None) -> list[e.Event]:
    return [recorded.event() for recorded in desk.store.log.events if recorded.stream == stream]


def priority(new: int, was: int) -> e.TaskPriorityChanged:
    return e.TaskPriorityChanged(task_id="T1", priority=new, was=was)


async def test_a_fork_is_the_old_task_with_the_changes_and_names_the_point_it_was_made_at() -> None:
    desk = await desk_with(e.TaskSkipped(task_id="T1", because="T0"))
    before = desk.types[:]

    reply = await desk.reply(fork(new_task_id="T9", changes={"container": {"image": "python:3.14-slim", "cpus": None}}))

    assert (reply.outcome, reply.task_id) == ("accepted", "T9")
    submitted, blocked = made(desk, reply.id)
    old = desk.store.log.events[2].stream
    container = {**SPEC["container"], "image": "python:3.14-slim"}
    del container["cpus"]
    changed = {**SPEC, "task_id": "T9", "container": container}
    assert isinstance(submitted, e.TaskSubmitted)
    assert submitted.spec == TaskSpec.model_validate(changed)
    assert submitted.forked_from == e.ForkPoint(task_id="T1", stream=old, version=3)
    assert (submitted.retry_of, submitted.workflow) == (None, None)
    assert blocked == e.TaskBlocked(task_id="T9", by=(e.Blocker(task_id="T0"),))
    assert [need.task_id for need in submitted.depends_on] == ["T0"]
    assert desk.types[: len(before)] == before


@pytest.mark.parametrize(("version", "wanted"), [(1, 5), (2, 5), (3, 8), (4, 2), (None, 2)])
async def test_its_priority_is_the_one_the_old_task_had_at_that_point(version: int | None, wanted: int) -> None:
    desk = await desk_with(priority(8, 5), priority(2, 8))

    reply = await desk.reply(fork(from_version=version) if version else fork())

    submitted = made(desk, reply.id)[0]
    assert isinstance(submitted, e.TaskSubmitted)
    assert submitted.forked_from is not None
    assert (submitted.spec.priority, submitted.forked_from.version) == (wanted, version or 4)


async def test_a_fork_may_need_other_tasks_or_none() -> None:
    desk = await desk_with()
    await desk.reply(submit({"task_id": "other"}, COMMAND_4))

    none = await desk.reply(fork(changes={"depends_on": []}))
    other = await desk.reply(fork(COMMAND_5, changes={"depends_on": [{"task_id": "other", "when": "failed"}]}))

    assert isinstance(made(desk, none.id)[1], e.TaskQueued)
    assert made(desk, other.id)[1] == e.TaskBlocked(
        task_id=str(other.id), by=(e.Blocker(task_id="other", needs="failed"),)
    )


READS: dict[str, Any] = {
    "executor": "docker",
    "container": {"image": "busybox", "command": ["load", "{{tasks.T0.result.rows}}", "{{input.day}}"]},
    "input": {"day": "Monday", "rows": "{{tasks.T0.result.rows}}"},
}


async def retried(spec: dict[str, Any]) -> Desk:
    """T1 was filled with 7 rows, has failed, and was run once more as T1.again."""
    desk = Desk()
    await desk.reply(submit({"task_id": "T0"}))
    old = await desk.reply(submit({"task_id": "T1", **spec}, COMMAND_2))
    assert old.id is not None
    work = Container(image="busybox", command=("load", "7", "Monday"))
    filled = e.TaskFilled(task_id="T1", container=work, input={"day": "Monday", "rows": 7})
    failed = e.TaskFailed(task_id="T1", reason="exit-nonzero", exit_code=1, runs=1)
    desk.store.log.append(new_events(old.id, 2, "default", [filled, failed], Cause("chain", "a", "saga")))
    await desk.reply(command("task.retry.v1", {"task_id": "T1", "new_task_id": "T1.again"}, COMMAND_4))
    return desk


@pytest.mark.parametrize("needs", [{}, {"depends_on": []}, {"depends_on": None}], ids=str)
async def test_a_fork_of_a_retried_task_has_what_that_one_was_filled_with(needs: dict[str, Any]) -> None:
    desk = await retried({**READS, "depends_on": [{"task_id": "T0"}]})

    reply = await desk.reply(fork(task_id="T1.again", changes={"container": {"image": "debian"}, **needs}))

    assert reply.outcome == "accepted"
    submitted, queued = made(desk, reply.id)
    assert isinstance(submitted, e.TaskSubmitted)
    assert isinstance(queued, e.TaskQueued)
    assert submitted.work.input == {"day": "Monday", "rows": 7}
    assert submitted.work.container == Container(image="debian", command=("load", "7", "Monday"))


@pytest.mark.parametrize("changes", [{}, {"depends_on": [{"task_id": "T0"}]}], ids=str)
async def test_a_fork_of_a_retried_child_has_its_item(changes: dict[str, Any]) -> None:
    desk = Desk()
    await desk.reply(submit({"task_id": "T0"}))
    for_each = {"items": ["x", "y"], "task": {"executor": "noop", "input": {"item": "{{item}}"}}}
    parent = await desk.reply(command("task.submit.v1", {"task_id": "T1", "for_each": for_each}, COMMAND_2))
    assert parent.id is not None
    child = child_stream(parent.id, 1)
    events: list[e.Event] = [
        e.TaskSubmitted(
            task_id="T1[1]",
            spec=TaskSpec(executor="noop", input={"item": "{{item}}"}),
            filled=Work(input={"item": "y"}),
            child_of=e.ChildOf(task_id="T1", stream=parent.id, index=1, item="y"),
        ),
        e.TaskFailed(task_id="T1[1]", reason="exit-nonzero", exit_code=1, runs=1),
    ]
    desk.store.log.append(new_events(child, 0, "default", events, Cause("chain", "a", "saga")))
    await desk.reply(command("task.retry.v1", {"task_id": str(child), "new_task_id": "again"}, COMMAND_4))

    reply = await desk.reply(fork(task_id="again", changes=changes))

    assert reply.outcome == "accepted", reply.problem
    submitted = made(desk, reply.id)[0]
    assert isinstance(submitted, e.TaskSubmitted)
    assert submitted.work.input == {"item": "y"}


async def test_one_that_depends_on_them_again_is_filled_anew() -> None:
    desk = await retried({**READS, "depends_on": [{"task_id": "T0"}]})

    reply = await desk.reply(fork(task_id="T1.again", changes={"depends_on": [{"task_id": "T0"}]}))

    submitted = made(desk, reply.id)[0]
    assert isinstance(submitted, e.TaskSubmitted)
    assert (submitted.reads, submitted.filled) == (("T0",), None)
    assert submitted.work.input == READS["input"]


async def test_templates_of_its_own_input_alone_are_filled_with_what_the_fork_changes() -> None:
    desk = Desk()
    container = {"image": "busybox", "command": ["load", "{{input.day}}"]}
    own = {"executor": "docker", "container": container, "input": {"day": "Monday"}}
    await desk.reply(submit({"task_id": "T1", **own}, COMMAND_2))

    reply = await desk.reply(fork(changes={"input": {"day": "Tuesday"}}))

    submitted = made(desk, reply.id)[0]
    assert isinstance(submitted, e.TaskSubmitted)
    assert submitted.work.container == Container(image="busybox", command=("load", "Tuesday"))


async def test_a_change_of_kind_leaves_the_container_out() -> None:
    desk = await desk_with()

    reply = await desk.reply(
        fork(changes={"container": None, "task_type": "sleep", "input": {"seconds": 1}, "depends_on": None})
    )

    submitted = made(desk, reply.id)[0]
    assert isinstance(submitted, e.TaskSubmitted)
    assert (submitted.spec.container, submitted.spec.task_type) == (None, "sleep")


async def test_the_same_fork_under_the_same_name_is_one_task_though_the_old_one_has_gone_on() -> None:
    desk = await desk_with(priority(8, 5))
    asked: dict[str, Any] = {"new_task_id": "T9", "changes": {"labels": {"a": "1", "b": "2"}}}
    first = await desk.reply(fork(**asked))
    await desk.reply(command("task.set-priority.v1", {"task_id": "T1", "priority": 1}, COMMAND_4))

    again = await desk.reply(fork(COMMAND_5, new_task_id="T9", changes={"labels": {"b": "2", "a": "1"}}))

    assert (again.outcome, again.id) == ("accepted", first.id)
    assert desk.types.count("task.submitted.v1") == 3


async def test_another_fork_does_not_get_the_name_of_the_first() -> None:
    desk = await desk_with()
    await desk.reply(fork(new_task_id="T9"))

    reply = await desk.reply(fork(COMMAND_4, new_task_id="T9", changes={"priority": 6}))

    assert reply.problem is not None
    assert reply.problem.code == "task-id-taken"


@pytest.mark.parametrize(
    ("asked", "code", "says"),
    [
        ({"from_version": 3}, "bad-version", "from_version: 3 is beyond the history of T1, which ends at version 2"),
        ({"from_version": 0}, "schema", "from_version"),
        ({"task_id": "nobody"}, "not-found", "nobody"),
        ({"new_task_id": "T1"}, "task-id-taken", "new_task_id: T1 is the task that is forked"),
        ({"new_task_id": "T0", "changes": {"depends_on": []}}, "task-id-taken", "T0 names another task"),
        ({"changes": {"task_id": "T9"}}, "schema", "changes.task_id: the new task is named by new_task_id"),
        ({"changes": {"container": {"image": "NO"}}}, "schema", "changes.container.image: give an image as NAME"),
        ({"changes": {"container": {"colour": "red"}}}, "unknown-field", "changes.container.colour: "),
        ({"changes": {"namespace": "other"}}, "unknown-field", "changes.namespace: a task has no such field"),
        ({"changes": {"executor": "noop"}}, "schema", "changes: executor noop runs nothing: leave out container"),
        ({"changes": {"priority": "7"}}, "schema", "changes.priority: Input should be a valid integer"),
        ({"changes": {"depends_on": [{"task_id": "T0", "when": "soon"}]}}, "schema", "changes.depends_on[0].when: "),
        ({"changes": {"depends_on": [{"task_id": "ghost"}]}}, "unknown-dependency", "no task ghost"),
        ({"new_task_id": "X", "changes": {"depends_on": [{"task_id": "X"}]}}, "self-dependency", "X"),
        ({"changes": "all"}, "schema", "changes"),
    ],
)
async def test_what_cannot_be_forked_is_refused_with_its_field_and_leaves_nothing(
    asked: dict[str, Any], code: str, says: str
) -> None:
    desk = await desk_with()
    before = len(desk.types)

    reply = await desk.reply(fork(**asked))

    assert reply.problem is not None
    assert reply.problem.code == code
    assert says in reply.problem.detail
    assert len(desk.types) == before


async def test_a_task_does_not_grow_beyond_a_message_by_forks() -> None:
    desk = await desk_with()
    last = "T1"
    for n in range(40):
        asked = {"task_id": last, "new_task_id": f"F{n}", "changes": {"container": {"env": {f"E{n}": "x" * 60_000}}}}
        reply = await desk.reply(command("task.fork.v1", asked, desk.new_id()))
        if reply.problem:
            assert (reply.problem.code, n > 10) == ("too-large", True)
            return
        last = f"F{n}"
    pytest.fail("a task of 2 MB")


@pytest.mark.parametrize("task", ["nobody", "00000000-0000-7000-8000-000000000001", "STREAM"])
async def test_what_is_foreign_looks_like_what_is_unknown(task: str) -> None:
    desk = Desk()
    there = await desk.reply(submit({"task_id": "T1", "namespace": "other"}))
    asked = task.replace("STREAM", str(there.id))

    reply = await desk.reply(fork(task_id=asked))

    assert reply.problem is not None
    assert reply.problem.detail == f"task_id: no task {asked} in namespace default; check the id and the namespace"


def history(**spec: Any) -> list[e.Event]:
    return [e.TaskSubmitted(task_id="T1", spec=TaskSpec.model_validate({"executor": "noop", "task_id": "T1", **spec}))]


def test_times_that_have_passed_are_left_out_and_others_stay() -> None:
    past, to_come = NOW - timedelta(hours=1), NOW + timedelta(hours=1)

    over, _ = forked(history(not_before=past - timedelta(hours=1), expires_at=past), Fork(), NOW)
    ahead, _ = forked(history(not_before=past, expires_at=to_come), Fork(), NOW)
    given, _ = forked(history(), Fork(changes={"expires_at": past.isoformat()}), NOW)

    assert (over.not_before, over.expires_at) == (None, None)
    assert (ahead.not_before, ahead.expires_at) == (None, to_come)
    assert given.expires_at == past


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_changes_are_merged_as_rfc_7396_says_in_its_appendix(target: Any, patch: Any, result: Any) -> None:
    assert merged(target, patch) == result


@given(JSON, JSON)
def test_a_patch_applied_twice_is_applied_once_and_changes_no_argument(target: Any, patch: Any) -> None:
    before = json.dumps([target, patch])
    once = merged(target, patch)

    assert merged(once, patch) == once
    assert json.dumps([target, patch]) == before


@given(st.integers(1, 10), st.lists(st.integers(1, 10), max_size=4), st.data())
def test_a_fork_without_changes_is_the_same_task(first: int, later: list[int], data: st.DataObject) -> None:
    events = history(priority=first, name="n", labels={"a": "b"}, timeouts={"run": "PT90S"})
    was = first
    for new in later:
        events.append(priority(new, was))
        was = new
    version = data.draw(st.integers(1, len(events)))

    spec, at = forked(events, Fork(version, "T9"), NOW)

    old = events[0]
    assert isinstance(old, e.TaskSubmitted)
    assert at == version
    assert spec == old.spec.model_copy(update={"task_id": "T9", "priority": [first, *later][version - 1]})
