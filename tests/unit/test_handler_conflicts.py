"""Commands whose streams and names others write to at the same time."""

from uuid import UUID

import pytest

from adapters.in_memory.event_log import MemoryLog
from domain.ports.handling import NameKey
from tests.support.commands import COMMAND_2, COMMAND_3, Desk, command, submit
from tests.support.ended_tasks import Hands
from tests.support.overtaking import ContendedStore


@pytest.fixture
def store() -> ContendedStore:
    return ContendedStore(MemoryLog(Hands()))


async def test_a_name_that_another_takes_meanwhile_is_refused(store: ContendedStore) -> None:
    desk, other = Desk(store=store), Desk(store=store)
    store.intrude = lambda: other.handle([submit({"task_id": "hello"})])

    reply = await desk.reply(submit({"task_id": "hello", "priority": 9}, COMMAND_2))

    assert reply.problem is not None
    assert reply.problem.code == "task-id-taken"
    assert desk.types == ["task.submitted.v1", "task.queued.v1"]


async def test_a_workflow_id_that_another_takes_meanwhile_is_refused(store: ContendedStore) -> None:
    desk, other = Desk(store=store), Desk(store=store)
    whole = {"workflow_id": "F1", "tasks": [{"executor": "noop"}]}
    store.intrude = lambda: other.handle([command("task.submit-workflow.v1", whole)])

    larger = {"workflow_id": "F1", "tasks": [{"executor": "noop"}, {"executor": "noop"}]}
    reply = await desk.reply(command("task.submit-workflow.v1", larger, COMMAND_2))

    assert reply.problem is not None
    assert reply.problem.code == "workflow-id-taken"


async def test_a_command_that_another_handler_has_answered_meanwhile_gets_the_same_answer(
    store: ContendedStore,
) -> None:
    desk, other = Desk(store=store), Desk(store=store)
    store.intrude = lambda: other.handle([submit({"task_id": "hello"})])

    reply = await desk.reply(submit({"task_id": "hello"}))

    assert reply == other.sent.replies[0].model_copy(update={"duplicate": True})
    assert len(store.log.events) == 2


async def test_a_task_that_another_changes_meanwhile_is_decided_on_as_it_is_then(store: ContendedStore) -> None:
    desk, other = Desk(store=store), Desk(store=store)
    await other.reply(submit({"task_id": "hello"}))
    store.intrude = lambda: other.handle([command("task.cancel.v1", {"task_id": "hello"}, COMMAND_2)])

    reply = await desk.reply(command("task.cancel.v1", {"task_id": "hello"}, COMMAND_3))

    assert reply.problem is not None
    assert reply.problem.code == "bad-state"
    assert desk.types.count("task.cancelled.v1") == 1


async def test_a_batch_that_is_overtaken_again_and_again_is_split_and_each_command_takes_effect_once(
    store: ContendedStore,
) -> None:
    desk = Desk(store=store)
    store.most = 2
    names = [f"T{n}" for n in range(7)]
    deliveries = [submit({"task_id": name}, UUID(int=n + 1), tag=n) for n, name in enumerate(names)]

    await desk.handle([*deliveries, submit({}, COMMAND_2, tag=9, body=b"{'a'}")])

    assert sorted(key.name for key in store.names) == names
    assert (len(store.inbox), len(desk.sent.replies), len(store.log.events)) == (7, 7, 14)
    assert [letter.reason for letter in store.dead_letters] == ["bad-json"]
    assert max(store.commits) == 2


async def test_a_single_command_is_decided_until_nobody_overtakes_it(store: ContendedStore) -> None:
    desk = Desk(store=store)
    store.overtaken = 10

    reply = await desk.reply(submit({"task_id": "hello"}))

    assert (reply.outcome, reply.version) == ("accepted", 2)
    assert set(store.names) == {NameKey("default", "task", "hello")}


async def test_a_command_that_is_overtaken_ever_again_is_decided_in_the_end(store: ContendedStore) -> None:
    desk = Desk(store=store)
    store.overtaken = 5000

    reply = await desk.reply(submit({"task_id": "hello"}))

    assert reply.outcome == "accepted"
    assert store.commits == [1]
