"""What the conductor makes of schedules: fires, skips, overlaps, pauses; on every store."""

from uuid import UUID

import pytest

from consumers import deciding
from consumers.conductor import PAGE
from consumers.noting import TYPES, notes_of
from domain import events as e
from domain.ports.log import Page
from domain.schedule import fire_stream, schedule_stream
from domain.task_states import Ended
from domain.task_type import type_stream
from domain.timetable import MOST_OPEN
from domain.type_specs import Definition
from tests.support.conducting import conductor, settle
from tests.support.conducting_place import Place, place
from tests.support.schedules import HOUR, S1, SECOND, define, fired, hourly, record, spec, tasks, trigger

__all__ = ["place"]


async def test_what_is_due_is_fired_once_and_its_task_runs(place: Place) -> None:
    await place.world.register("w1")
    first = await hourly(place.world, 0.001)
    await place.settle()
    await place.settle()

    (task,) = await tasks(place.world, [first, first + HOUR])
    assert await place.world.types(task) == ["submitted", "queued", "run-leased"]
    (event,) = (await place.world.load([fire_stream(S1, first)]))[fire_stream(S1, first)]
    assert event.event() == e.ScheduleFired(schedule_id="S1", schedule=S1, nominal=first, task_id=UUID(task))
    assert (event.namespace, event.cause.actor, event.cause.correlation_id) == (
        "default",
        "timekeeper",
        str(event.stream),
    )


async def test_where_it_takes_long_to_make_tasks_a_round_fires_one_and_the_next_ones_the_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding, "MOST_SECONDS", 0)
    due = await place.world.now() - SECOND
    names = ["S1", "S2", "S3"]
    for name in names:
        await define(place.world, due - SECOND, name, interval=HOUR, start=due)

    fires: list[int] = []
    for _ in names:
        assert await place.conducting.step(await place.conducting.seat.page(PAGE, TYPES))
        streams = [fire_stream(schedule_stream("default", name), due) for name in names]
        fires.append(len(await place.world.load(streams)))

    assert fires == [1, 2, 3]


async def test_of_missed_times_the_last_is_made_up_for_and_the_others_are_one_event(place: Place) -> None:
    first = await hourly(place.world, 30.5)
    await place.settle()

    told = await fired(place.world, [first + n * HOUR for n in range(32)])
    assert told[0] == "catch-up 30"
    assert told[1:30] == ["-"] * 29
    assert len(told[30]) == 36
    assert told[31] == "-"


async def test_all_that_were_missed_are_made_up_for_within_their_bounds(place: Place) -> None:
    first = await hourly(place.world, 9.5, overlap="allow", catch_up={"policy": "all", "max": 3, "within": "PT8H"})
    await place.settle()

    told = await fired(place.world, [first + n * HOUR for n in range(10)])
    assert (told[0], told[2]) == ("window 2", "catch-up 5")
    assert [len(one) for one in told[7:]] == [36, 36, 36]


async def test_none_that_was_missed_is_made_up_for_where_that_is_the_policy(place: Place) -> None:
    first = await hourly(place.world, 1.5, catch_up={"policy": "skip"})
    await place.settle()
    assert await fired(place.world, [first, first + HOUR]) == ["catch-up 2", "-"]


async def test_while_a_task_has_not_ended_the_next_is_skipped(place: Place) -> None:
    first = await hourly(place.world, 2.5, catch_up={"policy": "all"})
    await place.settle()
    one, *rest = await fired(place.world, [first + n * HOUR for n in range(3)])
    assert (len(one), rest) == (36, ["overlap", "overlap"])


async def test_when_the_task_has_ended_the_next_is_fired(place: Place) -> None:
    await place.world.register("w1")
    first = await hourly(place.world, 1.5, catch_up={"policy": "all", "max": 1})
    await place.settle()
    (task,) = await tasks(place.world, [first + HOUR])
    await place.world.finish(task)
    await place.settle()
    assert await place.world.left_over() == 0

    await define(place.world, await place.world.now() - HOUR, interval=HOUR, start=first + 5 * SECOND)
    await place.settle()

    assert len(await tasks(place.world, [first + HOUR + 5 * SECOND])) == 1


async def test_a_task_that_was_triggered_by_hand_counts_as_well(place: Place) -> None:
    first = await hourly(place.world, 0.5)
    await trigger(place.world, first - HOUR)
    await place.settle()
    assert await fired(place.world, [first]) == ["overlap"]


async def test_queued_fires_wait_for_each_other(place: Place) -> None:
    await place.world.register("w1")
    first = await hourly(place.world, 2.5, catch_up={"policy": "all"}, overlap="queue")
    await place.settle()
    one, two, three = await tasks(place.world, [first + n * HOUR for n in range(3)])
    assert [(await place.world.types(task))[-1] for task in (one, two, three)] == ["run-leased", "blocked", "blocked"]

    await place.world.finish(one, exit_code=1)
    await place.settle()
    assert (await place.world.types(two))[-1] == "run-leased"
    assert (await place.world.types(three))[-1] == "blocked"
    await place.world.finish(two)
    await place.settle()
    assert (await place.world.types(three))[-1] == "run-leased"


async def test_a_fire_cancels_what_runs_and_waits_for_its_end(place: Place) -> None:
    await place.world.register("w1")
    first = await hourly(place.world, 1.5, catch_up={"policy": "all"}, overlap="cancel-running")
    await settle(place.conducting)
    one, two = await tasks(place.world, [first, first + HOUR])
    state = await place.world.task(one)

    if not isinstance(state, Ended):
        await place.world.finish(one, exit_code=143)
        await place.settle()
    assert (await place.world.types(one))[-1] == "cancelled"
    assert (await place.world.types(two))[-1] == "run-leased"
    assert len((await place.world.load([fire_stream(S1, first)]))[fire_stream(S1, first)]) == 1


async def test_fires_run_beside_each_other_where_that_is_allowed(place: Place) -> None:
    await place.world.register("w1")
    first = await hourly(place.world, 2.5, catch_up={"policy": "all"}, overlap="allow")
    await place.settle()
    for task in await tasks(place.world, [first + n * HOUR for n in range(3)]):
        assert (await place.world.types(task))[-1] == "run-leased"


async def test_a_paused_schedule_does_not_fire_and_what_was_due_is_skipped_when_it_is_resumed(place: Place) -> None:
    now = await place.world.now()
    first = await hourly(place.world, 3.5)
    await record(place.world, e.SchedulePaused(schedule_id="S1", by="alice"), first - SECOND)
    await place.settle()
    assert await fired(place.world, [first]) == ["-"]

    await record(place.world, e.ScheduleResumed(schedule_id="S1", by="alice"), now)
    await place.settle()
    assert await fired(place.world, [first, first + HOUR]) == ["paused 4", "-"]


async def test_a_deleted_schedule_fires_no_more_and_a_new_one_of_its_name_from_then_on(place: Place) -> None:
    first = await hourly(place.world, 1.5)
    await record(place.world, e.ScheduleDeleted(schedule_id="S1", by="alice"), first - SECOND / 2)
    await place.settle()
    assert await fired(place.world, [first, first + HOUR]) == ["-", "-"]

    await define(place.world, first + SECOND, interval=HOUR, start=first)
    await place.settle()
    first_again, second = await fired(place.world, [first, first + HOUR])
    assert (first_again, len(second)) == ("-", 36)


async def test_a_one_shot_fires_once_though_its_time_comes_before_it_is_recorded_and_though_it_is_put_again(
    place: Place,
) -> None:
    now = await place.world.now()
    at = now - SECOND
    defined = e.ScheduleDefined(schedule_id="S1", spec=spec(at=at))
    await record(place.world, defined, now - SECOND / 2)
    await place.settle()
    before = await tasks(place.world, [at])
    assert len(before) == 1

    await record(place.world, e.ScheduleDeleted(schedule_id="S1", by="alice"), now)
    await record(place.world, defined, now)
    await place.settle()

    assert await tasks(place.world, [at]) == before
    async with place.conducting.seat.turn() as turn:
        assert (await turn.survey(10, 10)).agenda.planned == []


async def test_a_time_that_a_person_fired_before_is_passed_over(place: Place) -> None:
    first = await hourly(place.world, 0.001)
    by_hand = await trigger(place.world, first)
    await place.settle()
    assert await fired(place.world, [first]) == [by_hand]


async def test_a_time_that_was_skipped_may_be_fired_by_hand_and_stays_dealt_with(place: Place) -> None:
    first = await hourly(place.world, 3.5, catch_up={"policy": "skip"})
    await place.settle()
    by_hand = await trigger(place.world, first)
    await place.settle()
    assert await fired(place.world, [first, first + HOUR]) == [by_hand, "-"]


async def test_a_task_that_is_refused_by_now_is_a_skip_that_says_why(place: Place) -> None:
    first = await hourly(place.world, 0.001, task={"task_type": "gone"})
    await place.settle()
    (event,) = (await place.world.load([fire_stream(S1, first)]))[fire_stream(S1, first)]
    skipped = event.event()
    assert isinstance(skipped, e.FireSkipped)
    assert skipped.reason == "refused"
    assert (skipped.detail or "").startswith("task_type: gone is not registered in this namespace; built in: ")


async def put_type(place: Place, number: int, **said: object) -> None:
    definition = Definition.model_validate({"image": "oven", "command": ["bake", "{{input.loaves}}"], **said})
    put = e.TaskTypeChanged(task_type="bake", number=number, definition=definition, by="alice")
    await record(place.world, put, await place.world.now(), type_stream("default", "bake"))


async def test_a_fire_takes_the_registered_type_as_it_is_then_and_one_that_does_not_fit_is_a_skip(
    place: Place,
) -> None:
    task = {"task_type": "bake", "input": {"loaves": 2}}
    await put_type(place, 1)
    first = await hourly(place.world, 2.001, task=task, overlap="allow", catch_up={"policy": "all"})
    await place.settle()
    taken = await tasks(place.world, [first, first + HOUR, first + 2 * HOUR])
    submitted = [(await place.world.events(one))[0] for one in taken]

    assert [one.task_type_version for one in submitted if isinstance(one, e.TaskSubmitted)] == [1, 1, 1]

    await put_type(place, 2, input_schema={"required": ["oven"]})
    since = await place.world.now() - 2 * SECOND
    await define(place.world, since, "S2", interval=HOUR, start=since + SECOND, task=task)
    await place.settle()
    stream = fire_stream(schedule_stream("default", "S2"), since + SECOND)
    [skipped] = [row.event() for row in (await place.world.load([stream]))[stream]]
    assert isinstance(skipped, e.FireSkipped)
    assert (skipped.reason, (skipped.detail or "").startswith("input.oven: ")) == ("refused", True)

    await put_type(place, 3, image="oven:3")
    await define(place.world, since, "S3", interval=HOUR, start=since + SECOND, task=task)
    await place.settle()
    stream = fire_stream(schedule_stream("default", "S3"), since + SECOND)
    [fire] = [row.event() for row in (await place.world.load([stream]))[stream]]
    assert isinstance(fire, e.ScheduleFired)
    [third, *_] = await place.world.events(str(fire.task_id))
    assert isinstance(third, e.TaskSubmitted)
    assert third.work.container is not None
    assert (third.task_type_version, third.work.container.image) == (3, "oven:3")
    assert (third.schedule_id, third.work.container.command) == ("S3", ("bake", "2"))


async def test_many_that_are_due_at_once_are_fired_in_several_rounds(place: Place) -> None:
    at = await place.world.now() - SECOND
    for number in range(70):
        await define(place.world, at - SECOND, f"S{number}", interval=HOUR, start=at)
    await place.settle()
    streams = [fire_stream(schedule_stream("default", f"S{number}"), at) for number in range(70)]
    assert len(await place.world.load(streams)) == 70


async def test_the_conductor_sleeps_until_the_next_is_due(place: Place) -> None:
    first = await hourly(place.world, 0.5)
    await place.settle()
    async with place.conducting.seat.turn() as turn:
        survey = await turn.survey(10, 10)
    assert survey.next_due == first + HOUR
    assert survey.agenda.planned == []


async def test_a_conductor_whose_rows_lag_behind_the_log_fires_nothing_twice(place: Place) -> None:
    first = await hourly(place.world, 2.5, catch_up={"policy": "all", "max": 2}, overlap="allow")
    await place.settle()
    nominals = [first + n * HOUR for n in range(3)]
    before = await fired(place.world, nominals)
    await place.world.forget_schedules()

    await settle(conductor(place.conducting.seat))

    assert await fired(place.world, nominals) == before
    async with place.conducting.seat.turn() as turn:
        assert (await turn.survey(10, 10)).next_due == first + 3 * HOUR


async def test_what_was_fired_counts_before_it_is_read_again(place: Place) -> None:
    first = await hourly(place.world, 1.5, catch_up={"policy": "all"})
    await place.conducting.step(await place.conducting.seat.page(PAGE, TYPES))
    await place.conducting.step(Page((), 0))

    one, two = await fired(place.world, [first, first + HOUR])
    assert (len(one), two) == (36, "overlap")


async def test_of_a_schedules_open_tasks_a_round_reads_as_many_as_count(place: Place) -> None:
    first = await hourly(place.world, 0.001, overlap="allow")
    made = [await trigger(place.world, first - HOUR - number * SECOND) for number in range(MOST_OPEN + 5)]
    page = await place.conducting.seat.page(PAGE, TYPES)
    async with place.conducting.seat.turn() as turn:
        await turn.note(await notes_of(turn, page.events))
        (row,) = (await turn.survey(10, 10)).agenda.planned

    assert list(row.open) == sorted(map(UUID, made))[:MOST_OPEN]


async def test_however_many_tasks_are_open_the_next_fires_where_that_is_allowed(place: Place) -> None:
    first = await hourly(place.world, 0.001, overlap="allow")
    for number in range(110):
        await trigger(place.world, first - HOUR + number * SECOND)
    await place.settle()
    assert len(await tasks(place.world, [first])) == 1
