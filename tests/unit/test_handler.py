"""What becomes of commands: once, all or nothing, and always answered."""

from datetime import timedelta
from typing import Any

import pytest

from domain import events as e
from domain.placing import Rate
from domain.ports.handling import NameKey
from domain.recorded import Recorded, new_events
from domain.work import Reply
from domain.worker import worker_stream
from tests.support.commands import COMMAND, COMMAND_2, COMMAND_3, NOOP, Desk, command, submit
from tests.support.ended_tasks import CAUSE
from tests.support.histories import registered


def code(reply: Reply) -> str:
    assert reply.outcome == "rejected"
    assert reply.problem is not None
    return reply.problem.code


async def test_a_submitted_task_is_queued_and_its_sender_told_where() -> None:
    desk = Desk()

    reply = await desk.reply(submit({"task_id": "hello"}))

    assert desk.types == ["task.submitted.v1", "task.queued.v1"]
    assert (reply.outcome, reply.task_id, reply.version, reply.position, reply.duplicate) == (
        "accepted",
        "hello",
        2,
        2,
        False,
    )
    assert reply.links == {"task": f"/v1/tasks/{reply.id}"}


async def test_every_event_says_which_command_of_whom_caused_it() -> None:
    desk = Desk()

    await desk.reply(submit({}, correlation_id="chain-7"))

    causes = {(e.cause.correlation_id, e.cause.causation_id, e.cause.actor) for e in desk.store.log.events}
    assert causes == {("chain-7", str(COMMAND), "client")}
    assert desk.sent.messages[0].correlation_id == "chain-7"


async def test_a_repeated_command_gets_its_first_outcome_and_adds_nothing() -> None:
    desk = Desk()
    first = await desk.reply(submit({"task_id": "hello"}))

    again = await desk.reply(submit({"task_id": "hello"}))

    assert again == first.model_copy(update={"duplicate": True})
    assert len(desk.store.log.events) == 2


async def test_a_command_delivered_twice_in_one_batch_takes_effect_once() -> None:
    desk = Desk()

    await desk.handle([submit({}), submit({}, tag=2)])

    assert [reply.duplicate for reply in desk.sent.replies] == [False, True]
    assert len(desk.store.log.events) == 2


async def test_an_id_used_again_with_another_body_is_refused_and_the_first_outcome_stays() -> None:
    desk = Desk()
    first = await desk.reply(submit({"task_id": "hello"}))

    assert code(await desk.reply(submit({"task_id": "other"}))) == "id-reuse"

    again = await desk.reply(submit({"task_id": "hello"}))
    assert again == first.model_copy(update={"duplicate": True})


async def test_the_same_task_id_with_the_same_body_is_one_task() -> None:
    desk = Desk()
    first = await desk.reply(submit({"task_id": "hello"}))

    second = await desk.reply(submit({"task_id": "hello"}, COMMAND_2))

    assert (second.outcome, second.id, second.duplicate) == ("accepted", first.id, False)
    assert len(desk.store.log.events) == 2


async def test_the_same_task_id_with_another_body_is_refused() -> None:
    desk = Desk()
    await desk.reply(submit({"task_id": "hello"}))

    assert code(await desk.reply(submit({"task_id": "hello", "priority": 9}, COMMAND_2))) == "task-id-taken"


async def test_a_task_id_is_free_in_another_namespace() -> None:
    desk = Desk()
    await desk.reply(submit({"task_id": "hello"}))

    reply = await desk.reply(submit({"task_id": "hello", "namespace": "analytics", "priority": 9}, COMMAND_2))

    assert reply.outcome == "accepted"


async def test_a_batch_of_tasks_has_an_outcome_for_each() -> None:
    desk = Desk()
    tasks = [
        {**NOOP, "task_id": "a"},
        {"executor": "noop", "task_id": "b", "depends_on": [{"task_id": "x"}]},
    ]

    reply = await desk.reply(command("task.submit-tasks.v1", {"tasks": tasks}))

    assert reply.tasks is not None
    assert [(one.task_id, one.outcome) for one in reply.tasks] == [("a", "accepted"), ("b", "rejected")]
    assert desk.types == ["task.submitted.v1", "task.queued.v1"]


@pytest.mark.parametrize("type", ["task.submit-workflow.v1", "task.submit-tasks.v1"])
async def test_a_reply_and_its_repeat_name_the_position_of_the_last_event_that_follows(type: str) -> None:
    desk = Desk()
    many = command(type, {"tasks": [{**NOOP, "task_id": name} for name in "abc"]})

    first, again = await desk.reply(many), await desk.reply(many)

    assert first.position == again.position == len(desk.types)
    assert again.duplicate


async def test_a_limit_is_set_and_changed_and_setting_it_again_changes_nothing() -> None:
    desk = Desk()
    first = await desk.reply(command("limit.set.v1", {"scope": "namespace:default", "max_running": 5}, COMMAND))
    again = await desk.reply(command("limit.set.v1", {"scope": "namespace:default", "max_running": 5}, COMMAND_2))
    rate = {"starts": 9, "per": "PT1M"}
    other = await desk.reply(command("limit.set.v1", {"scope": "key:report", "rate": rate}, COMMAND_3))

    assert [one.version for one in (first, again, other)] == [1, 1, 1]
    assert [row.event() for row in desk.store.log.events] == [
        e.LimitChanged(scope="namespace:default", max_running=5, by="client"),
        e.LimitChanged(scope="key:default/report", rate=Rate(starts=9, per=timedelta(minutes=1)), by="client"),
    ]


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"scope": "namespace:default", "max_running": -1}, "schema"),
        ({"scope": "namespace:default", "rate": {"starts": 0, "per": "PT1M"}}, "schema"),
        ({"scope": "everything", "max_running": 1}, "schema"),
        ({"scope": "namespace:analytics", "namespace": "default", "max_running": 1}, "schema"),
        ({"scope": "namespace:default", "max_running": 1}, "not-allowed"),
        ({"scope": "pool:default", "namespace": "analytics", "max_running": 1}, "not-allowed"),
    ],
)
async def test_a_limit_that_makes_no_sense_or_is_not_the_sender_s_to_set_is_refused(
    body: dict[str, object], refused: str
) -> None:
    desk = Desk()
    assert code(await desk.reply(command("limit.set.v1", body, user="narrow"))) == refused
    assert desk.types == []


async def test_a_worker_is_drained_and_started_and_asking_twice_changes_nothing() -> None:
    desk = Desk()
    own = worker_stream("W1")
    desk.store.log.append(new_events(own, 0, "_", [registered()], CAUSE))
    said = {"worker_id": "W1", "reason": "a new disk"}

    first = await desk.reply(command("worker.stop.v1", said, COMMAND))
    again = await desk.reply(command("worker.stop.v1", {"worker_id": "W1"}, COMMAND_2, routing_key="worker.stop._"))
    last = await desk.reply(command("worker.start.v1", {"worker_id": "W1"}, COMMAND_3, routing_key="worker.start"))

    assert [(one.id, one.version) for one in (first, again, last)] == [(own, 2), (own, 2), (own, 3)]
    assert [row.event() for row in desk.store.log.events[1:]] == [
        e.WorkerDraining(worker_id="W1", by="client", reason="a new disk"),
        e.WorkerServing(worker_id="W1", by="client"),
    ]
    assert {row.namespace for row in desk.store.log.events} == {"_"}


@pytest.mark.parametrize(
    ("type", "body", "user", "refused"),
    [
        ("worker.stop.v1", {"worker_id": "W1"}, "narrow", "not-allowed"),
        ("worker.start.v1", {"worker_id": "W1"}, "narrow", "not-allowed"),
        ("worker.stop.v1", {"worker_id": "W9"}, "client", "not-found"),
        ("worker.start.v1", {"worker_id": "W9"}, "client", "not-found"),
        ("worker.stop.v1", {"worker_id": "W1", "grace": "PT1M"}, "client", "unknown-field"),
        ("worker.stop.v1", {"worker_id": "W1", "namespace": "analytics"}, "client", "unknown-field"),
        ("worker.stop.v1", {}, "client", "schema"),
    ],
)
async def test_a_worker_is_for_those_who_speak_for_every_namespace_and_must_have_been_there(
    type: str, body: dict[str, object], user: str, refused: str
) -> None:
    desk = Desk()
    desk.store.log.append(new_events(worker_stream("W1"), 0, "_", [registered()], CAUSE))

    reply = await desk.reply(command(type, body, user=user))

    assert code(reply) == refused
    assert desk.types == ["worker.registered.v1"]


async def test_a_task_is_given_another_priority_by_its_name() -> None:
    desk = Desk()
    await desk.reply(submit({"task_id": "T1"}))

    reply = await desk.reply(command("task.set-priority.v1", {"task_id": "T1", "priority": 9}, COMMAND_2))
    refused = await desk.reply(command("task.set-priority.v1", {"task_id": "T1", "priority": 0}, COMMAND_3))

    assert (reply.outcome, reply.task_id, reply.version) == ("accepted", "T1", 3)
    assert desk.types[-1] == "task.priority-changed.v1"
    assert refused.problem is not None
    assert refused.problem.code == "schema"


async def test_a_workflow_is_accepted_as_a_whole() -> None:
    desk = Desk()
    tasks = [
        {**NOOP, "task_id": "a"},
        {"executor": "noop", "task_id": "b", "depends_on": [{"task_id": "a"}]},
    ]

    reply = await desk.reply(command("task.submit-workflow.v1", {"workflow_id": "F1", "tasks": tasks}))

    assert (reply.outcome, reply.workflow_id, reply.position) == ("accepted", "F1", len(desk.types))
    assert desk.types == [
        "workflow.submitted.v1",
        "task.submitted.v1",
        "task.queued.v1",
        "task.submitted.v1",
        "task.blocked.v1",
    ]


@pytest.mark.parametrize(
    ("second", "expected", "said"),
    [
        ({"task_id": "b", "depends_on": [{"task_id": "zz"}]}, "unknown-dependency", "zz"),
        ({"task_id": "b", "depends_on": [{"at_least": 1, "of": [{"task_id": "zz"}]}]}, "unknown-dependency", "zz"),
        ({"task_id": "b", "depends_on": [{"at_least": 1, "of": [{"task_id": "b"}]}]}, "self-dependency", "b depends"),
        ({"task_id": "b", "depends_on": [{"task_id": "b"}]}, "self-dependency", "b depends on itself"),
        ({"task_id": "a"}, "duplicate-task-id", "a is given twice"),
        ({"task_id": "b", "executor": "docker", "task_type": "bake"}, "unknown-task-type", "bake"),
    ],
)
async def test_a_workflow_with_one_bad_task_is_refused_as_a_whole(
    second: dict[str, Any], expected: str, said: str
) -> None:
    desk = Desk()
    tasks = [{**NOOP, "task_id": "a"}, {**NOOP, **second}]

    reply = await desk.reply(command("task.submit-workflow.v1", {"tasks": tasks}))

    assert code(reply) == expected
    assert reply.problem is not None
    assert said in reply.problem.detail
    assert (desk.types, desk.store.names) == ([], {})


async def test_a_cycle_is_refused_with_its_path() -> None:
    desk = Desk()
    tasks = [
        {**NOOP, "task_id": name, "depends_on": [{"task_id": needs}]} for name, needs in (("T1", "T3"), ("T3", "T1"))
    ]

    reply = await desk.reply(command("task.submit-workflow.v1", {"tasks": tasks}))

    assert code(reply) == "dependency-cycle"
    assert reply.problem is not None
    assert "T1 -> T3 -> T1" in reply.problem.detail or "T3 -> T1 -> T3" in reply.problem.detail


async def test_a_queued_task_is_cancelled_at_once() -> None:
    desk = Desk()
    await desk.reply(submit({"task_id": "hello"}))

    reply = await desk.reply(command("task.cancel.v1", {"task_id": "hello", "reason": "wrong day"}, COMMAND_2))

    assert reply.outcome == "accepted"
    assert desk.types[-1] == "task.cancelled.v1"


async def test_cancelling_what_has_ended_is_refused() -> None:
    desk = Desk()
    await desk.reply(submit({"task_id": "hello"}))
    await desk.reply(command("task.cancel.v1", {"task_id": "hello"}, COMMAND_2))

    assert code(await desk.reply(command("task.cancel.v1", {"task_id": "hello"}, COMMAND_3))) == "bad-state"


async def test_a_command_for_an_unknown_task_waits_two_seconds_for_it() -> None:
    desk = Desk()
    early = command("task.cancel.v1", {"task_id": "hello"}, COMMAND_2)

    postponed = await desk.handle([early], timedelta(0))
    await desk.reply(submit({"task_id": "hello"}))
    rest = await desk.handle(postponed, timedelta(seconds=1))

    assert (postponed, rest) == ([early], [])
    assert desk.types[-1] == "task.cancelled.v1"


async def test_a_command_for_an_unknown_task_is_refused_after_that() -> None:
    desk = Desk()

    assert code(await desk.reply(command("task.cancel.v1", {"task_id": "nobody"}))) == "not-found"


async def test_a_task_of_another_namespace_looks_unknown() -> None:
    desk = Desk()
    created = await desk.reply(submit({"task_id": "hello", "namespace": "analytics"}))

    by_name = await desk.reply(command("task.cancel.v1", {"task_id": "hello"}, COMMAND_2))
    by_id = await desk.reply(command("task.cancel.v1", {"task_id": str(created.id)}, COMMAND_3))

    assert (code(by_name), code(by_id)) == ("not-found", "not-found")


async def test_a_sender_may_only_speak_for_its_namespaces() -> None:
    desk = Desk()

    assert code(await desk.reply(submit({}, user="narrow"))) == "not-allowed"
    assert desk.types == []


async def test_the_body_s_namespace_must_be_the_routing_key_s() -> None:
    desk = Desk()

    assert code(await desk.reply(submit({}, routing_key="task.submit.analytics"))) == "namespace-mismatch"


@pytest.mark.parametrize(("user", "reason"), [("stranger", "unknown-identity")])
async def test_an_unknown_sender_is_kept_as_a_dead_letter(user: str, reason: str) -> None:
    desk = Desk()

    await desk.handle([submit({}, user=user)])

    assert [letter.reason for letter in desk.store.dead_letters] == [reason]
    assert (desk.types, desk.sent.messages) == ([], [])


async def test_a_refusal_is_an_outcome_and_a_reply_and_no_event() -> None:
    desk = Desk()

    reply = await desk.reply(submit({"is_admin": True}))

    assert code(reply) == "unknown-field"
    assert len(desk.store.inbox) == 1
    assert (desk.types, desk.store.dead_letters) == ([], [])


async def test_an_unreadable_message_does_not_hold_up_its_neighbours() -> None:
    desk = Desk()

    await desk.handle([submit({}, body=b"{'a'}"), submit({}, COMMAND_2, tag=2)])

    assert [letter.reason for letter in desk.store.dead_letters] == ["bad-json"]
    assert desk.types == ["task.submitted.v1", "task.queued.v1"]


async def test_a_batch_overtaken_by_another_handler_is_decided_again() -> None:
    desk, other = Desk(), Desk()
    other.store = desk.store
    await desk.reply(submit({"task_id": "hello"}))
    before: list[Recorded] = list(desk.store.log.events)

    reply = await desk.reply(submit({"task_id": "hello", "labels": {"team": "data"}}, COMMAND_2))

    assert code(reply) == "task-id-taken"
    assert desk.store.log.events == before
    assert set(desk.store.names) == {NameKey("default", "task", "hello")}


async def test_a_sleep_task_is_given_its_container_when_it_is_accepted() -> None:
    desk = Desk()
    spec = {"executor": "docker", "task_type": "sleep", "input": {"seconds": 2, "message": "done"}}

    await desk.reply(submit(spec))

    event: Any = desk.store.log.events[0].event()
    assert event.container.image == "tallyport/busybox:dev"
    assert event.container.command[-2:] == ("2", "done")
