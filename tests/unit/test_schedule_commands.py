"""What becomes of commands about schedules."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain import events as e
from domain.schedule import schedule_stream
from domain.work import Reply
from tests.support.commands import Desk, command
from tests.support.corpus import Case, cases
from tests.support.ended_tasks import NOW

S1: dict[str, Any] = {"schedule_id": "S1"}
HOURLY: dict[str, Any] = {**S1, "cron": "0 * * * *", "task": {"executor": "noop"}}


async def told(desk: Desk, verb: str, data: dict[str, Any], **changes: Any) -> Reply:
    return await desk.reply(command(f"schedule.{verb}.v1", data, desk.new_id(), **changes))


async def refusal(desk: Desk, verb: str, data: dict[str, Any], **changes: Any) -> str:
    before = len(desk.types)
    reply = await told(desk, verb, data, **changes)
    assert reply.problem is not None
    assert len(desk.types) == before
    return f"{reply.problem.code} {reply.problem.detail}"


async def test_a_schedule_is_put_paused_resumed_and_deleted() -> None:
    desk = Desk()
    put = await told(desk, "put", HOURLY)
    replies = [await told(desk, verb, S1) for verb in ("pause", "pause", "resume", "delete")]

    assert put.id == schedule_stream("default", "S1")
    assert (put.schedule_id, put.version, put.links) == ("S1", 1, {"schedule": f"/v1/schedules/{put.id}"})
    assert [reply.version for reply in replies] == [2, 2, 3, 4]
    assert [one.split(".")[1] for one in desk.types] == ["defined", "paused", "resumed", "deleted"]
    assert (await refusal(desk, "pause", S1)).startswith("not-found schedule_id: no schedule S1 in namespace default")


async def test_the_same_put_again_adds_nothing_and_one_after_the_end_begins_anew() -> None:
    desk = Desk()
    for verb, data in (("put", HOURLY), ("put", HOURLY), ("delete", S1), ("put", HOURLY)):
        assert (await told(desk, verb, data)).outcome == "accepted"
    assert [one.split(".")[1] for one in desk.types] == ["defined", "deleted", "defined"]


SCHEDULES = [case for case in cases() if case.expected == {"j": "bad-schedule"}]


@pytest.mark.parametrize("case", SCHEDULES, ids=lambda case: case.name)
async def test_the_bad_schedules_of_the_corpus_are_refused(case: Case) -> None:
    desk = Desk()
    delivery = replace(case.delivery(), routing_key="schedule.put.default", user="client", reply_to="replies")
    reply = await desk.reply(delivery)
    assert reply.problem is not None
    assert (reply.problem.code, desk.types) == ("bad-schedule", [])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cron": "99 * * * *"}, "bad-schedule cron: bad minute in 99 * * * *"),
        ({"cron": "0 0 31 2 *"}, "bad-schedule cron: bad day-of-month"),
        ({"cron": "* * * * * *"}, "bad-schedule cron: six fields"),
        ({"timezone": "../../etc/passwd"}, "bad-schedule timezone: "),
        ({"task": {"executor": "noop", "x": 1}}, "unknown-field task.x"),
        ({"catch_up": {"max": 3}}, "schema catch_up: max is for policy all"),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_recorded(change: dict[str, Any], says: str) -> None:
    assert (await refusal(Desk(), "put", {**HOURLY, **change})).startswith(says)


async def test_a_schedule_of_a_namespace_is_for_those_who_may_act_there() -> None:
    desk = Desk()
    assert (await refusal(desk, "put", HOURLY, user="narrow")).startswith("not-allowed namespace: ")
    await told(desk, "put", HOURLY)
    assert (await refusal(desk, "pause", {**S1, "namespace": "analytics"}, user="narrow")).startswith("not-found ")


async def test_a_trigger_fires_now_and_again_at_another_now() -> None:
    desk = Desk()
    await told(desk, "put", HOURLY)
    first = await told(desk, "trigger", S1)
    desk.clock.move(timedelta(seconds=1))
    second = await told(desk, "trigger", S1)

    assert desk.types[1:] == ["schedule.fired.v1", "task.submitted.v1", "task.queued.v1"] * 2
    fired = desk.store.log.events[1].event()
    assert isinstance(fired, e.ScheduleFired)
    assert (fired.nominal, fired.by, str(fired.task_id)) == (NOW, "trigger", first.task_id)
    assert (first.schedule_id, first.version, first.position) == ("S1", 2, 4)
    assert first.links == {"task": f"/v1/tasks/{first.id}"}
    assert second.task_id != first.task_id


TYPE: dict[str, Any] = {"task_type": "bake", "image": "oven", "command": ["bake", "{{input.loaves}}"]}
DAILY: dict[str, Any] = {**S1, "cron": "@daily", "task": {"task_type": "bake", "input": {"loaves": 2}}}


async def put_type(desk: Desk, **changes: Any) -> None:
    reply = await desk.reply(command("task-type.put.v1", {**TYPE, **changes}, desk.new_id()))
    assert reply.outcome == "accepted"


async def test_a_trigger_and_a_backfill_take_the_registered_type_as_it_is_then() -> None:
    desk = Desk()
    await put_type(desk)
    assert (await told(desk, "put", DAILY)).outcome == "accepted"
    await told(desk, "trigger", S1)
    await put_type(desk, image="oven:2")
    await told(desk, "backfill", {**S1, "from": "2026-11-19T00:00:00Z", "to": "2026-11-20T00:00:00Z"})

    tasks = [event for row in desk.store.log.events if isinstance(event := row.event(), e.TaskSubmitted)]
    assert [(one.spec.task_type, one.task_type_version) for one in tasks] == [("bake", 1), ("bake", 2), ("bake", 2)]
    assert [one.work.container.image for one in tasks if one.work.container] == ["oven", "oven:2", "oven:2"]


async def test_what_a_registered_type_does_not_take_is_refused_when_it_is_put_and_when_it_is_fired() -> None:
    desk = Desk()
    assert (await refusal(desk, "put", DAILY)).startswith("unknown-task-type task.task_type: bake is not registered")
    await put_type(desk, input_schema={"properties": {"loaves": {"maximum": 1}}})
    assert (await refusal(desk, "put", DAILY)).startswith("bad-input task.input.loaves: ")
    await put_type(desk)
    await told(desk, "put", DAILY)
    await put_type(desk, input_schema={"required": ["oven"]})

    assert (await refusal(desk, "trigger", S1)).startswith("bad-input input")
    assert "task.submitted.v1" not in desk.types


async def test_a_type_and_a_schedule_that_names_it_may_come_in_one_batch() -> None:
    desk = Desk()
    deliveries = [
        command(kind, body, desk.new_id(), tag=tag)
        for tag, (kind, body) in enumerate((("task-type.put.v1", TYPE), ("schedule.put.v1", DAILY)))
    ]

    await desk.handle(deliveries)

    assert [reply.outcome for reply in desk.sent.replies] == ["accepted", "accepted"]


async def test_a_schedule_that_overtakes_its_type_is_looked_at_again() -> None:
    desk = Desk()
    early = command("schedule.put.v1", DAILY, desk.new_id())
    assert await desk.handle([early], timedelta(0)) == [early]
    await put_type(desk)

    assert (await desk.reply(early)).outcome == "accepted"


async def test_a_time_fires_once_whoever_asks_for_it() -> None:
    desk = Desk()
    await told(desk, "put", HOURLY)
    as_if = {**S1, "as_if": "2026-11-21T03:00:00+01:00"}
    first = await told(desk, "trigger", as_if)
    again = await told(desk, "trigger", {**S1, "as_if": "2026-11-21T02:00:00Z"})
    span = {**S1, "from": "2026-11-21T01:00:00Z", "to": "2026-11-21T03:00:00Z"}
    backfilled = await told(desk, "backfill", span)
    repeated = await told(desk, "backfill", span)

    assert again.task_id == first.task_id
    assert desk.types.count("schedule.fired.v1") == 3
    assert backfilled.tasks is not None
    assert [one.outcome for one in backfilled.tasks] == ["accepted"] * 3
    assert backfilled.tasks[1].id == first.id
    assert repeated.tasks == backfilled.tasks


async def test_two_triggers_for_one_time_in_one_batch_fire_once() -> None:
    desk = Desk()
    await told(desk, "put", HOURLY)
    as_if = {**S1, "as_if": "2026-11-21T02:00:00Z"}
    await desk.handle([command("schedule.trigger.v1", as_if, desk.new_id(), tag=tag) for tag in (1, 2)])

    assert desk.types.count("schedule.fired.v1") == 1
    assert len({reply.task_id for reply in desk.sent.replies[-2:]}) == 1


async def test_each_trigger_of_one_batch_that_names_no_time_is_a_fire_of_its_own() -> None:
    desk = Desk()
    await told(desk, "put", HOURLY)
    await desk.handle([command("schedule.trigger.v1", S1, desk.new_id(), tag=tag) for tag in (1, 2, 3)])

    fires = [event for one in desk.store.log.events if isinstance(event := one.event(), e.ScheduleFired)]
    assert [one.nominal for one in fires] == [NOW + n * timedelta(microseconds=1) for n in range(3)]
    assert [reply.task_id for reply in desk.sent.replies[-3:]] == [str(one.task_id) for one in fires]
    assert len({one.task_id for one in fires}) == 3


async def test_a_backfill_beside_the_put_of_its_schedule_finds_what_had_fired() -> None:
    desk = Desk()
    await told(desk, "put", HOURLY)
    await told(desk, "trigger", {**S1, "as_if": "2026-11-21T02:00:00Z"})
    await told(desk, "delete", S1)
    span = {**S1, "from": "2026-11-21T01:00:00Z", "to": "2026-11-21T03:00:00Z"}
    puts = command("schedule.put.v1", {**HOURLY, "cron": "0 1-5 * * *"}, desk.new_id())
    await desk.handle([puts, command("schedule.backfill.v1", span, desk.new_id(), tag=2)], timedelta(seconds=2))

    assert [reply.outcome for reply in desk.sent.replies[-2:]] == ["accepted", "accepted"]
    assert desk.types.count("schedule.fired.v1") == 3


@pytest.mark.parametrize(
    ("verb", "data", "says"),
    [
        ("trigger", {"as_if": "2026-11-22T00:00:00Z"}, "as_if: 2026-11-22T00:00:00+00:00 is yet to come"),
        ("backfill", {"from": "2026-11-21T02:00:00Z", "to": "2026-11-21T01:00:00Z"}, "to: is before from"),
        (
            "backfill",
            {"from": "2026-11-21T02:00:00Z", "to": "2026-11-22T01:00:00Z"},
            "to: 2026-11-22T01:00:00",
        ),
        ("backfill", {"from": "2026-01-01T02:00:00Z", "to": "2026-11-20T01:00:00Z"}, "to: more than 1000 fires"),
    ],
)
async def test_a_fire_that_cannot_be_asked_for_is_refused(verb: str, data: dict[str, Any], says: str) -> None:
    desk = Desk()
    await told(desk, "put", HOURLY)
    assert (await refusal(desk, verb, {**S1, **data})).startswith(f"bad-schedule {says}")
