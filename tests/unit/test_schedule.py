"""A schedule's states, what its fires make, and what is done of all that is due."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import events as e
from domain import schedule, timetable
from domain.errors import BadInput, BadSchedule, BadTemplate, Rejected, TemplateMissingField, UnknownTaskType
from domain.events import read_event
from domain.firing import due
from domain.ids import derived_id
from domain.schedule import Fire, Pause, Schedule, fire_stream, schedule_stream, task_stream
from domain.schedule_spec import ScheduleSpec
from domain.specs import TaskSpec
from domain.task_type import TaskType, Types
from domain.timetable import MOST_COUNTED, Go, Leave, Rest, step
from domain.type_specs import Definition
from tests.support.ended_tasks import NOW, TASK

S1 = schedule_stream("default", "S1")
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)
TYPES = Types("base")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def spec(**given: Any) -> ScheduleSpec:
    rule = {} if {"cron", "interval", "at"} & set(given) else {"cron": "0 * * * *"}
    return ScheduleSpec.model_validate({**rule, "task": {"executor": "noop"}, **given})


def made(since: datetime = MIDNIGHT, **given: Any) -> Schedule:
    return Schedule(S1, 1, "S1", spec(**given), since)


def refused(**given: Any) -> str:
    with pytest.raises(BadSchedule) as error:
        schedule.put(None, "S1", spec(**given), NOW, TYPES)
    return error.value.detail


def test_a_new_schedule_is_defined_and_the_same_again_changes_nothing() -> None:
    (defined,) = schedule.put(None, "S1", spec(), NOW, TYPES)
    assert defined == e.ScheduleDefined(schedule_id="S1", spec=spec())

    state = schedule.evolve(None, S1, read_event(defined.TYPE, defined.body()), NOW)

    assert schedule.put(state, "S1", spec(), NOW, TYPES) == []
    assert schedule.put(state, "S1", spec(overlap="allow"), NOW, TYPES) != []


def test_it_is_paused_resumed_and_deleted_once() -> None:
    state = made()
    (paused,) = schedule.pause(state, "alice")
    state = schedule.evolve(state, S1, paused, NOW)
    assert (state.paused, schedule.pause(state, "alice")) == (True, [])

    (resumed,) = schedule.resume(state, "alice")
    state = schedule.evolve(state, S1, resumed, NOW + HOUR)
    assert (state.paused, state.pauses, schedule.resume(state, "alice")) == (False, (Pause(NOW, NOW + HOUR),), [])

    (deleted,) = schedule.delete(state, "alice")
    state = schedule.evolve(state, S1, deleted, NOW)
    assert state.deleted
    assert state.version == 4


def test_one_that_was_deleted_begins_anew() -> None:
    gone = schedule.evolve(made(), S1, e.ScheduleDeleted(schedule_id="S1", by="alice"), NOW)
    (defined,) = schedule.put(gone, "S1", spec(), NOW, TYPES)
    again = schedule.evolve(gone, S1, defined, NOW + HOUR)
    assert again == Schedule(S1, 3, "S1", spec(), NOW + HOUR)


def test_another_rule_holds_from_now_on_and_another_task_for_what_is_due() -> None:
    other_task = e.ScheduleDefined(schedule_id="S1", spec=spec(task={"executor": "noop", "priority": 9}))
    other_rule = e.ScheduleDefined(schedule_id="S1", spec=spec(cron="5 * * * *"))
    assert schedule.evolve(made(), S1, other_task, NOW).since == MIDNIGHT
    assert schedule.evolve(made(), S1, other_rule, NOW).since == NOW


def child(**said: Any) -> dict[str, Any]:
    return {"task": {"for_each": {"items": [1], "task": said}}}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"cron": "99 * * * *"}, "cron: bad minute"),
        ({"cron": "0 0 31 2 *"}, "cron: bad day-of-month"),
        ({"cron": "* * * * * *"}, "cron: six fields"),
        ({"timezone": "../../etc/passwd"}, "timezone: ../../etc/passwd is not in the IANA database"),
        ({"cron": None}, "cron: it is not said when to fire; give one of cron, interval and at"),
        ({"interval": "PT1H", "cron": "0 * * * *"}, "cron: cron and interval are given; give one of"),
        ({"interval": "PT1H", "timezone": "UTC"}, "timezone: is for cron; leave it out beside interval"),
        ({"interval": "PT1H", "dst": "skip"}, "dst: is for cron"),
        ({"at": "2026-11-21T03:00:00Z"}, "at: 2026-11-21T03:00:00+00:00 is over; give a later time"),
        ({"at": "2027-11-21T03:00:00Z", "start": "2026-11-21T03:00:00Z"}, "start: is for cron and interval"),
        ({"task": {"executor": "noop", "task_id": "T"}}, "task.task_id: each fire makes a new task; leave it out"),
        ({"task": {"executor": "noop", "depends_on": [{"task_id": "T"}]}}, "task.depends_on: "),
        ({"task": {"executor": "noop", "not_before": "2027-01-01T00:00:00Z"}}, "task.not_before: "),
        ({"task": {"executor": "noop", "expires_at": "2027-01-01T00:00:00Z"}}, "task.expires_at: "),
        (
            child(executor="noop", expires_at="2027-01-01T00:00:00Z"),
            "task.for_each.task.expires_at: it is the same for",
        ),
        (
            child(executor="noop", not_before="2027-01-01T00:00:00Z"),
            "task.for_each.task.not_before: it is the same for",
        ),
        (
            {"task": {"container": {"image": "i", "env": {f"V{n}": "" for n in range(255)}}}},
            "task.container.env: more than 254 variables",
        ),
    ],
)
def test_what_can_never_fire_is_refused_with_the_way_out(given: dict[str, Any], says: str) -> None:
    assert refused(**given).startswith(says)


def test_a_task_that_could_not_be_submitted_is_refused_at_once() -> None:
    with pytest.raises(UnknownTaskType):
        schedule.put(None, "S1", spec(task={"task_type": "none"}), NOW, TYPES)
    with pytest.raises(BadInput, match=r"^task\.input\.seconds: "):
        schedule.put(None, "S1", spec(task={"task_type": "sleep", "input": {}}), NOW, TYPES)


LOAVES = {"type": "object", "properties": {"loaves": {"type": "integer"}}, "required": ["loaves"]}
BAKE: dict[str, Any] = {"task": {"task_type": "bake", "input": {"loaves": 2}}}


def baking(number: int = 1, **said: Any) -> Types:
    """The type `bake` as it was put last; removed, if its image is None."""
    definition = {"image": "oven", "command": ["bake", "{{input.loaves}}"], "input_schema": LOAVES, **said}
    put = Definition.model_validate(definition) if definition["image"] else None
    return Types("base", {"bake": TaskType(TASK, number, number, put)})


def test_a_schedule_may_name_a_registered_type_whose_input_fits() -> None:
    [defined] = schedule.put(None, "S1", spec(**BAKE), NOW, baking())
    assert defined == e.ScheduleDefined(schedule_id="S1", spec=spec(**BAKE))

    with pytest.raises(BadInput, match=r"^task\.input\.loaves: "):
        schedule.put(None, "S1", spec(task={"task_type": "bake", "input": {"loaves": "two"}}), NOW, baking())
    with pytest.raises(UnknownTaskType, match=r"^task\.task_type: bake is not registered"):
        schedule.put(None, "S1", spec(**BAKE), NOW, baking(image=None))
    with pytest.raises(BadSchedule, match=r"^task\.task_type: bake has more than 254 variables in env"):
        schedule.put(None, "S1", spec(**BAKE), NOW, baking(env={f"V{n}": "" for n in range(255)}))


def test_a_fire_takes_the_type_as_it_is_then() -> None:
    fire = Fire(made(**BAKE), NOW)

    _, (first, _) = fire.events(TASK, (), baking())
    _, (second, _) = fire.events(TASK, (), baking(2, image="oven:2", command=["bake-well", "{{input.loaves}}"]))

    assert isinstance(first, e.TaskSubmitted)
    assert isinstance(second, e.TaskSubmitted)
    assert (first.spec.task_type, first.task_type_version, first.spec.input) == ("bake", 1, {"loaves": 2})
    assert (second.spec.task_type, second.task_type_version) == ("bake", 2)
    assert first.work.container is not None
    assert second.work.container is not None
    assert first.work.container.command == ("bake", "2")
    assert (second.work.container.image, second.work.container.command) == ("oven:2", ("bake-well", "2"))
    assert second.work.container.env == {"TALLY_SCHEDULE": "S1", "TALLY_NOMINAL": "2026-11-21T03:12:40Z"}
    assert read_event(second.TYPE, second.body()) == second


@pytest.mark.parametrize(
    ("types", "refusal"),
    [
        (baking(2, input_schema={**LOAVES, "required": ["loaves", "oven"]}), BadInput),
        (baking(image=None), UnknownTaskType),
        (TYPES, UnknownTaskType),
        (baking(2, env={f"V{n}": "" for n in range(255)}), BadSchedule),
        (baking(2, command=["bake", "{{input.oven}}"]), TemplateMissingField),
    ],
)
def test_a_fire_is_refused_where_its_type_does_not_take_it_any_more(types: Types, refusal: type[Rejected]) -> None:
    with pytest.raises(refusal):
        Fire(made(**BAKE), NOW).events(TASK, (), types)


@pytest.mark.parametrize(
    ("command", "refusal", "says"),
    [
        ("{{nonsense", BadTemplate, "task.container.command[0]: {{nonsense is no template; write "),
        (
            "{{input.day}}",
            TemplateMissingField,
            "task.container.command[0]: {{input.day}}: input is null",
        ),
        ("{{tasks.x.result}}", BadSchedule, "task: a template reads another task, but a schedule waits for none"),
    ],
)
def test_a_template_that_no_fire_could_fill_is_refused_at_once(
    command: str, refusal: type[Rejected], says: str
) -> None:
    with pytest.raises(refusal) as error:
        schedule.put(None, "S1", spec(task={"container": {"image": "i", "command": [command]}}), NOW, TYPES)
    assert error.value.detail.startswith(says)
    assert "(task" not in error.value.detail


def test_a_template_that_reads_its_own_input_is_taken() -> None:
    container = {"image": "i", "command": ["{{input.day}}"]}
    assert schedule.put(None, "S1", spec(task={"container": container, "input": {"day": "x"}}), NOW, TYPES)


def test_a_fire_is_one_stream_and_its_task_stands_among_those_submitted_now() -> None:
    nominal = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
    fire = Fire(made(), nominal)

    assert fire.stream == fire_stream(S1, nominal) == fire_stream(schedule_stream("default", "S1"), nominal)
    assert fire.stream.int >> 80 == int(nominal.timestamp() * 1000)
    assert task_stream(fire.stream, NOW).int >> 80 == int(NOW.timestamp() * 1000)
    others = {fire_stream(S1, nominal + timedelta(microseconds=1)), fire_stream(schedule_stream("b", "S1"), nominal)}
    assert fire.stream not in others
    assert fire.stream.version == 7


def test_a_fire_submits_the_task_which_is_told_its_schedule_and_time() -> None:
    container = {"image": "i", "env": {"A": "b"}}
    fire = Fire(made(task={"container": container}), NOW, "trigger")

    fired, (submitted, queued) = fire.events(TASK, (), TYPES)

    assert fired == e.ScheduleFired(schedule_id="S1", schedule=S1, nominal=NOW, task_id=TASK, by="trigger")
    env = {"A": "b", "TALLY_SCHEDULE": "S1", "TALLY_NOMINAL": "2026-11-21T03:12:40Z"}
    assert submitted == e.TaskSubmitted(
        task_id=str(TASK),
        spec=TaskSpec.model_validate({"name": "S1", "container": {**container, "env": env}}),
        schedule_id="S1",
        nominal=NOW,
    )
    assert queued.TYPE == "task.queued.v1"
    assert read_event(submitted.TYPE, submitted.body()) == submitted


def test_a_task_type_is_told_too_and_a_task_waits_for_those_before() -> None:
    before = derived_id(TASK, "before")
    fire = Fire(made(task={"task_type": "sleep", "input": {"seconds": 1}, "name": "N"}), NOW)

    _, (submitted, blocked) = fire.events(TASK, (before,), TYPES)

    assert isinstance(submitted, e.TaskSubmitted)
    assert submitted.container is not None
    assert submitted.container.env == {"TALLY_SCHEDULE": "S1", "TALLY_NOMINAL": "2026-11-21T03:12:40Z"}
    assert submitted.spec.name == "N"
    assert blocked == e.TaskBlocked(task_id=str(TASK), by=(e.Blocker(task_id=str(before), needs="always"),))


def test_a_task_type_with_a_template_is_told_too() -> None:
    given = {"seconds": 1, "message": '{{"x"}}'}
    fire = Fire(made(task={"task_type": "sleep", "input": given}), NOW)

    _, (submitted, _) = fire.events(TASK, (), TYPES)

    assert isinstance(submitted, e.TaskSubmitted)
    assert submitted.work.container is not None
    assert submitted.work.container.env == {"TALLY_SCHEDULE": "S1", "TALLY_NOMINAL": "2026-11-21T03:12:40Z"}
    assert submitted.work.input == {"seconds": 1, "message": "x"}


def at(hours: float) -> datetime:
    return MIDNIGHT + hours * HOUR


@pytest.mark.parametrize(
    ("given", "now", "wanted"),
    [
        ({}, at(0.5), Rest(at(1))),
        ({}, at(1), Go(at(1))),
        ({}, at(1) + 59 * timedelta(seconds=1), Go(at(1))),
        ({"catch_up": {"policy": "skip"}}, at(3), Leave(at(1), "catch-up", at(2), 2)),
        ({"catch_up": {"policy": "skip"}}, at(3.5), Leave(at(1), "catch-up", at(3), 3)),
        ({}, at(3.5), Leave(at(1), "catch-up", at(2), 2)),
        ({"catch_up": {"policy": "all", "max": 3}}, at(3.5), Go(at(1))),
        ({"catch_up": {"policy": "all", "max": 2}}, at(3.5), Leave(at(1), "catch-up", at(1), 1)),
        ({"catch_up": {"policy": "last", "within": "PT1H"}}, at(3.5), Leave(at(1), "window", at(2), 2)),
        ({"catch_up": {"policy": "all", "within": "PT2H"}}, at(3.5), Leave(at(1), "window", at(1), 1)),
        ({"catch_up": {"policy": "last", "within": "PT10M"}}, at(3.5), Leave(at(1), "window", at(3), 3)),
        ({"at": "2026-11-21T01:00:00Z"}, at(0.5), Rest(at(1))),
        ({"at": "2026-11-21T01:00:00Z"}, at(5), Go(at(1))),
    ],
)
def test_what_is_due_is_fired_and_what_was_missed_made_up_for_as_the_policy_says(
    given: dict[str, Any], now: datetime, wanted: timetable.Step
) -> None:
    assert step(made(**given), MIDNIGHT, now, running=0) == wanted


def test_a_one_shot_that_has_fired_rests_for_ever() -> None:
    assert step(made(at="2026-11-21T01:00:00Z"), at(1), at(2), 0) == Rest(None)


def test_a_one_shot_whose_time_came_before_it_was_recorded_fires() -> None:
    late = made(since=at(1) + MINUTE / 2, at="2026-11-21T01:00:00Z")
    assert timetable.following(late, MIDNIGHT) == at(1)
    assert step(late, MIDNIGHT, at(1) + MINUTE / 2, 0) == Go(at(1))
    assert step(late, at(1), at(2), 0) == Rest(None)


@pytest.mark.parametrize(
    ("overlap", "running", "wanted"),
    [
        ("skip", 0, Go(at(1))),
        ("skip", 1, Leave(at(1), "overlap", at(1), 1)),
        ("queue", 49, Go(at(1))),
        ("queue", 50, Leave(at(1), "overlap", at(1), 1)),
        ("cancel-running", 49, Go(at(1))),
        ("cancel-running", 50, Leave(at(1), "overlap", at(1), 1)),
        ("allow", 1000, Go(at(1))),
    ],
)
def test_while_tasks_run_the_policy_of_overlaps_counts(overlap: str, running: int, wanted: timetable.Step) -> None:
    assert step(made(overlap=overlap), MIDNIGHT, at(1), running) == wanted


def test_what_was_due_during_a_pause_is_skipped_at_its_end() -> None:
    paused = schedule.evolve(made(), S1, e.SchedulePaused(schedule_id="S1", by="alice"), at(0.5))
    assert step(paused, MIDNIGHT, at(3.5), 0) == Rest(None)

    resumed = schedule.evolve(paused, S1, e.ScheduleResumed(schedule_id="S1", by="alice"), at(3.5))
    assert step(resumed, MIDNIGHT, at(3.5), 0) == Leave(at(1), "paused", at(3), 3)
    assert step(resumed, at(3), at(3.5), 0) == Rest(at(4))


def with_pauses(state: Schedule, *pauses: tuple[float, float]) -> Schedule:
    """Paused and resumed at these hours."""
    for begin, end in pauses:
        state = schedule.evolve(state, S1, e.SchedulePaused(schedule_id="S1", by="alice"), at(begin))
        state = schedule.evolve(state, S1, e.ScheduleResumed(schedule_id="S1", by="alice"), at(end))
    return state


def steps(state: Schedule, now: datetime) -> list[timetable.Step]:
    """All that becomes of what is due, one step after the other."""
    cursor, taken = MIDNIGHT, list[timetable.Step]()
    while not isinstance(one := step(state, cursor, now, running=0), Rest):
        taken.append(one)
        cursor = one.nominal if isinstance(one, Go) else one.to
    return taken


DOWN_BEFORE_AND_AFTER = ((2.5, 4.5), (5.5, 6.5))
"""Nobody looks until 8:30. Missed at 1, 2, 5, 7 and 8; paused at 3, 4 and 6."""


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        (
            {"policy": "skip"},
            [
                Leave(at(1), "catch-up", at(2), 2),
                Leave(at(3), "paused", at(4), 2),
                Leave(at(5), "catch-up", at(5), 1),
                Leave(at(6), "paused", at(6), 1),
                Leave(at(7), "catch-up", at(8), 2),
            ],
        ),
        (
            {"policy": "last"},
            [
                Leave(at(1), "catch-up", at(2), 2),
                Leave(at(3), "paused", at(4), 2),
                Leave(at(5), "catch-up", at(5), 1),
                Leave(at(6), "paused", at(6), 1),
                Leave(at(7), "catch-up", at(7), 1),
                Go(at(8)),
            ],
        ),
        (
            {"policy": "all", "max": 4},
            [
                Leave(at(1), "catch-up", at(1), 1),
                Go(at(2)),
                Leave(at(3), "paused", at(4), 2),
                Go(at(5)),
                Leave(at(6), "paused", at(6), 1),
                Go(at(7)),
                Go(at(8)),
            ],
        ),
        (
            {"policy": "all", "max": 9, "within": "PT4H"},
            [
                Leave(at(1), "window", at(2), 2),
                Leave(at(3), "paused", at(4), 2),
                Go(at(5)),
                Leave(at(6), "paused", at(6), 1),
                Go(at(7)),
                Go(at(8)),
            ],
        ),
    ],
    ids=["skip", "last", "four", "window"],
)
def test_what_was_missed_before_a_pause_and_after_it_is_missed_and_not_paused(
    policy: dict[str, Any], wanted: list[timetable.Step]
) -> None:
    assert steps(with_pauses(made(catch_up=policy), *DOWN_BEFORE_AND_AFTER), at(8.5)) == wanted


def test_a_one_shot_that_was_missed_before_a_pause_is_made_up_for() -> None:
    state = with_pauses(made(at="2026-11-21T01:00:00Z"), (2, 3))
    assert steps(state, at(5)) == [Go(at(1))]


def test_a_time_that_is_just_due_when_a_short_pause_is_over_is_fired_if_it_was_due_before() -> None:
    begin = 1 + 20 / 3600
    assert steps(with_pauses(made(), (begin, begin + 0.001)), at(1) + MINUTE / 2) == [Go(at(1))]
    assert steps(with_pauses(made(), (1, begin)), at(1) + MINUTE / 2) == [Leave(at(1), "paused", at(1), 1)]


def test_years_of_minutes_are_left_in_one_step_uncounted() -> None:
    state = made(cron="* * * * *", catch_up={"policy": "last"})
    now = at(0) + timedelta(days=1000)
    assert step(state, MIDNIGHT, now, 0) == Leave(at(0) + MINUTE, "catch-up", now - 2 * MINUTE, None)


RULES = st.sampled_from(
    [{"cron": "*/10 * * * *"}, {"interval": "PT7M"}, {"cron": "30 2 * * *", "timezone": "Asia/Tokyo"}]
)
POLICIES = st.sampled_from(
    [{"policy": "skip"}, {"policy": "last"}, {"policy": "all", "max": 3}, {"policy": "all", "max": 9, "within": "PT2H"}]
)


@settings(max_examples=60)
@given(
    RULES,
    POLICIES,
    st.sampled_from(["skip", "queue", "cancel-running", "allow"]),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 60), st.booleans()), min_size=1, max_size=12),
)
def test_each_nominal_time_is_fired_or_skipped_once_however_long_nobody_looks(
    rule: dict[str, Any], policy: dict[str, Any], overlap: str, looks: list[tuple[int, int, bool]]
) -> None:
    """Looks come after so many minutes; some of them pause or resume the schedule."""
    state, cursor, now = made(**rule, catch_up=policy, overlap=overlap), MIDNIGHT, MIDNIGHT
    dealt: list[tuple[datetime, datetime, int]] = []
    for minutes, running, turn in looks:
        now += minutes * MINUTE
        if turn:
            by = schedule.resume if state.paused else schedule.pause
            (event,) = by(state, "alice")
            state = schedule.evolve(state, S1, event, now)
        while not isinstance(one := step(state, cursor, now, running), Rest):
            to, count = (one.nominal, 1) if isinstance(one, Go) else (one.to, one.count)
            if count is None:
                count = 1 + len(due(state.rule, one.nominal, to, 10_000))
                assert count > MOST_COUNTED
            dealt.append((one.nominal, to, count))
            cursor = to
        assert one.until is None or one.until > now
    if state.paused:
        return

    nominals = due(state.rule, MIDNIGHT, now, 10_000)
    covered = [one for begin, end, _ in dealt for one in nominals if begin <= one <= end]
    assert covered == nominals
    assert sum(count for *_, count in dealt) == len(nominals)
