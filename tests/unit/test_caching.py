"""Which tasks are equal, whose result is kept, and who takes it."""

from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain import events as e
from domain.caching import COUNTS, LIMITS, Entry, Look, Reuse, entry_of, kept, key_for, key_of, looks, may_keep, takes
from domain.commands import SubmitTask
from domain.errors import CacheNeedsDigest
from domain.filling import Work
from domain.placing import Cache, Requires
from domain.reports import Artifact
from domain.retry_spec import Fallback, Retry
from domain.schedule import Fire, evolve, put, schedule_stream
from domain.schedule_spec import ScheduleSpec
from domain.specs import Container, DependsOn, TaskSpec, Timeouts
from domain.spreading import children
from domain.submitting import Again, check, once_more, submit_task
from domain.task import Free, Gather, Wake, decide
from domain.task_states import Held, Queued, Spread, Task
from domain.task_type import Put, TaskType, Types
from domain.task_type import decide as decide_type
from domain.templates import Known
from domain.type_specs import Definition
from tests.support.ended_tasks import NOW, TASK
from tests.support.task_states import DONE, FAILED, GRANT, QUEUED, START, STATES, after, fold

HEX, OTHER_HEX = "ab" * 32, "cd" * 32
IMAGE = f"busybox@sha256:{HEX}"
PLAIN = Container(image=IMAGE)
KEY = "d4a67b2305282150603c7fd5e1a3930acd2cdea6756e92c9cb9968f1cd019df1"
ENTRY = "10ceec4d9bf648b163ae46496587a1f40ab40611f6052deabf1df41e92994c96"
KEYS = st.sampled_from(["a", "b", "rows", "é"])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
CONTAINERS = st.builds(
    Container,
    image=st.sampled_from([IMAGE, f"sha256:{OTHER_HEX}"]),
    command=st.none() | st.lists(st.text(max_size=2), min_size=1, max_size=3).map(tuple),
    env=st.dictionaries(st.sampled_from(["A", "B", "C"]), st.text(max_size=2), max_size=3),
    user=st.sampled_from([None, "1000"]),
    workdir=st.sampled_from([None, "/work"]),
    network=st.sampled_from(["none", "lan"]),
    result=st.sampled_from([None, "/r.json"]),
    artifacts=st.sampled_from([None, "/a.json"]),
)
WORKS = st.builds(Work, container=st.none() | CONTAINERS, input=st.none() | st.dictionaries(KEYS, JSON, max_size=3))
WHOLE = st.tuples(st.sampled_from(["docker", "noop"]), WORKS, st.none() | st.sampled_from(["", "1", "2"]))


def turned(value: Any) -> Any:
    """The same JSON with the fields of every object in the other order."""
    if isinstance(value, dict):
        return {name: turned(one) for name, one in reversed(cast("dict[str, Any]", value).items())}
    return [turned(one) for one in cast("list[object]", value)] if isinstance(value, list) else value


def said(whole: tuple[str, Work, str | None]) -> str:
    """All that counts, told apart as JSON tells things apart."""
    executor, work, version = whole
    container = work.container
    fields = [getattr(container, name) for name in COUNTS if name != "env"] if container else []
    env = sorted(container.env.items()) if container else []
    image = container.image.rpartition("@")[2] if container else None
    return repr([executor, version, image, fields, env, plain(work.input)])


def plain(value: Any) -> str:
    if isinstance(value, dict):
        return repr(sorted((name, plain(one)) for name, one in cast("dict[str, Any]", value).items()))
    return repr([plain(one) for one in cast("list[object]", value)]) if isinstance(value, list) else repr(value)


@given(WHOLE, WHOLE)
def test_two_tasks_have_one_key_if_and_only_if_all_that_counts_of_them_is_the_same(
    one: tuple[str, Work, str | None], other: tuple[str, Work, str | None]
) -> None:
    assert (key_of(*one) == key_of(*other)) is (said(one) == said(other))


@given(WHOLE)
def test_neither_the_order_of_fields_nor_the_way_through_the_log_changes_a_key(
    whole: tuple[str, Work, str | None],
) -> None:
    executor, work, version = whole
    through_the_log = Work.model_validate_json(work.model_dump_json(exclude_none=True))
    container = work.container
    env: dict[str, str] = turned(container.env) if container else {}
    turned_work = Work(
        container=container.model_copy(update={"env": env}) if container else None, input=turned(work.input)
    )

    assert key_of(executor, turned_work, version) == key_of(*whole)
    assert key_of(executor, through_the_log, version) == key_of(*whole)


def test_a_key_stays_what_it_is_from_one_release_to_the_next() -> None:
    work = Work(container=Container(image=IMAGE, command=("echo", "é"), env={"B": "2", "A": "1"}), input={"n": 1.5})

    assert key_of("docker", work, None) == KEY
    assert entry_of("default", KEY).hex() == ENTRY


def test_it_is_decided_of_every_field_of_a_container_whether_it_counts() -> None:
    assert {"image", *COUNTS, *LIMITS} == set(Container.model_fields)


CHANGES: dict[str, Any] = {
    "command": ("true",),
    "env": {"A": "1"},
    "user": "1000",
    "workdir": "/work",
    "network": "lan",
    "result": "/r.json",
    "artifacts": "/a.json",
}


@pytest.mark.parametrize("name", COUNTS)
def test_what_a_container_may_read_or_leave_counts(name: str) -> None:
    changed = PLAIN.model_copy(update={name: CHANGES[name]})

    assert key_of("docker", Work(container=changed), None) != key_of("docker", Work(container=PLAIN), None)


@pytest.mark.parametrize(("name", "value"), [("cpus", 2.0), ("memory", "1Gi"), ("pids", 9)])
def test_the_limits_of_a_container_do_not_count(name: str, value: object) -> None:
    changed = PLAIN.model_copy(update={name: value})

    assert key_of("docker", Work(container=changed), None) == key_of("docker", Work(container=PLAIN), None)


def test_an_image_counts_by_its_digest_whatever_its_name() -> None:
    by_name, by_tag, by_id = (
        key_of("docker", Work(container=Container(image=image)), None)
        for image in (IMAGE, f"mirror.example/busybox:1.36@sha256:{HEX}", f"sha256:{HEX}")
    )
    other = key_of("docker", Work(container=Container(image=f"busybox@sha256:{OTHER_HEX}")), None)

    assert by_name == by_tag == by_id != other


def test_what_a_task_is_called_and_how_it_is_tried_does_not_count() -> None:
    cache = Cache()
    said = TaskSpec(container=PLAIN, cache=cache)
    otherwise = TaskSpec(
        task_id="T9",
        name="other",
        container=PLAIN,
        cache=Cache(ttl=timedelta(hours=1)),
        priority=9,
        timeouts=Timeouts(run=timedelta(minutes=1)),
        retry=Retry(fallback=Fallback(command=("slow",))),
        requires=Requires(pool="gpu"),
        labels={"team": "data"},
    )

    assert key_for(state(said).facts) == key_for(state(otherwise).facts)


def test_another_version_and_another_namespace_begin_anew() -> None:
    one, two = (key_for(state(TaskSpec(container=PLAIN, cache=Cache(version=v))).facts) for v in (None, "2"))

    assert one != two
    assert entry_of("default", one) != entry_of("other", one)


def test_templates_count_as_they_are_filled() -> None:
    reading = TaskSpec(
        container=Container(image=IMAGE, command=("echo", "{{tasks.T0.result}}")),
        depends_on=(DependsOn(task_id="T0"),),
        cache=Cache(),
    )
    blocked = fold(*submit_task(reading, TASK, {"T0": UUID(int=7)}, Types("image")))
    three, four = (key_for(after(blocked, Free({"T0": Known("succeeded", 0, rows)})).facts) for rows in (3, 4))
    written = state(TaskSpec(container=Container(image=IMAGE, command=("echo", "3")), cache=Cache()))

    assert three == key_for(written.facts) != four


def test_a_task_of_a_type_is_equal_to_one_that_names_the_same_container() -> None:
    definition = Definition(image=IMAGE, command=("echo", "{{input.who}}"), cache=Cache(version="2"))
    put = {"greet": TaskType(UUID(int=1), 1, 1, definition)}
    typed = fold(*submit_task(TaskSpec(task_type="greet", input={"who": "ada"}), TASK, {}, Types("image", put)))
    written = Container(image=IMAGE, command=("echo", "ada"))
    plain = state(TaskSpec(container=written, input={"who": "ada"}, cache=Cache(version="2")))

    assert typed.facts.submitted.spec.cache == Cache(version="2")
    assert key_for(typed.facts) == key_for(plain.facts)


@pytest.mark.parametrize("image", ["busybox", "busybox:1.36", f"busybox@sha256:{HEX[:-1]}", f"sha256:{HEX}0", HEX])
def test_an_image_that_may_become_another_is_refused_with_the_field_and_the_way_out(image: str) -> None:
    with pytest.raises(CacheNeedsDigest) as refused:
        submit_task(TaskSpec(task_id="T1", container=Container(image=image), cache=Cache()), TASK, {}, Types("image"))

    assert refused.value.code == "cache-needs-digest"
    assert refused.value.detail == (
        f"container.image: {image} may become another image, and with cache it must stay the same; name it by its "
        "digest, as name@sha256:…, or by its id, as sha256:…; or leave cache out (task T1)"
    )


def test_a_type_that_says_cache_needs_a_fixed_image_too_and_a_built_in_one_has_it_from_the_platform() -> None:
    with pytest.raises(CacheNeedsDigest):
        decide_type(None, Put("greet", Definition(image="busybox:1.36", cache=Cache()), "alice"))
    assert decide_type(None, Put("greet", Definition(image=IMAGE, cache=Cache()), "alice"))
    with pytest.raises(CacheNeedsDigest):
        submit_task(TaskSpec(task_type="sleep", input={"seconds": 1}, cache=Cache()), TASK, {}, Types("busybox:1.36"))
    assert submit_task(TaskSpec(task_type="sleep", input={"seconds": 1}, cache=Cache()), TASK, {}, Types(IMAGE))


@pytest.mark.parametrize(
    ("child", "fixed"),
    [
        ({"container": {"image": "busybox"}}, {"container": {"image": IMAGE}}),
        ({"task_type": "sleep", "input": {"seconds": 1}}, None),
    ],
)
def test_children_that_say_cache_need_a_fixed_image_as_other_tasks_do(
    child: dict[str, Any], fixed: dict[str, Any] | None
) -> None:
    def each(task: dict[str, Any], types: Types) -> list[e.TaskEvent]:
        for_each: dict[str, Any] = {"items": [1], "task": {**task, "cache": {}}}
        return submit_task(TaskSpec.model_validate({"task_id": "T1", "for_each": for_each}), TASK, {}, types)

    with pytest.raises(CacheNeedsDigest) as refused:
        each(child, Types("busybox"))

    assert refused.value.detail.startswith("for_each.task.container.image: busybox may become another image")
    assert each(fixed or child, Types(IMAGE))


def test_each_fire_of_a_schedule_has_its_nominal_time_in_its_key() -> None:
    task = TaskSpec(container=PLAIN, cache=Cache())
    (defined,) = put(None, "S1", ScheduleSpec(cron="0 0 * * *", task=task), NOW, Types("base"))
    schedule = evolve(None, schedule_stream("default", "S1"), defined, NOW)
    keys: list[str] = []
    for nominal in (NOW, NOW, NOW + timedelta(days=1)):
        _, events = Fire(schedule, nominal).events(TASK, (), Types("base"))
        keys.append(key_for(fold(*events).facts))

    assert keys[0] == keys[1] != keys[2]


def test_what_stands_in_for_the_task_may_have_any_image() -> None:
    retry = Retry(fallback=Fallback(image="busybox:latest"))

    assert submit_task(TaskSpec(container=PLAIN, retry=retry, cache=Cache()), TASK, {}, Types("image"))


def test_a_dry_run_refuses_it_too_and_leaves_types_to_the_platform() -> None:
    with pytest.raises(CacheNeedsDigest):
        check(SubmitTask(container=Container(image="busybox"), cache=Cache(), namespace="default"))
    check(SubmitTask(task_type="sleep", input={"seconds": 1}, cache=Cache(), namespace="default"))


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(days=366)])
def test_a_ttl_is_more_than_nothing_and_at_most_a_year(ttl: timedelta) -> None:
    with pytest.raises(ValidationError):
        Cache(ttl=ttl)
    assert Cache().ttl == timedelta(days=7)


PURE = TaskSpec(container=PLAIN, cache=Cache(ttl=timedelta(hours=1)))
LEFT = e.TaskSucceeded(
    task_id="T0",
    runs=3,
    exit_code=0,
    result={"rows": 3},
    artifacts=(Artifact(name="m", uri="s3://b/m", sha256=HEX, bytes=7),),
    cache=e.Kept(key=KEY, ttl=timedelta(hours=1)),
)
FIRST = e.CachedFrom(task_id="T0", stream=UUID(int=7), ended_at=NOW)


def test_a_success_of_its_own_is_kept_under_its_key_for_its_ttl() -> None:
    running = after(state(PURE), GRANT, START)

    end = decide(running, DONE, NOW)[-1]

    assert isinstance(end, e.TaskSucceeded)
    assert end.cache == e.Kept(key=key_for(running.facts), ttl=timedelta(hours=1))
    assert may_keep(end.body())


def test_nothing_is_kept_of_a_run_that_had_too_little_memory_as_limits_do_not_count() -> None:
    end = decide(after(state(PURE), GRANT, START), DONE.model_copy(update={"oom_killed": True}), NOW)[-1]

    assert isinstance(end, e.TaskSucceeded)
    assert end.cache is None


def test_nothing_is_kept_of_a_task_that_does_not_say_so() -> None:
    end = decide(after(state(TaskSpec(container=PLAIN)), GRANT, START), DONE, NOW)[-1]

    assert isinstance(end, e.TaskSucceeded)
    assert end.cache is None
    assert not may_keep(end.body())


def test_what_stood_in_for_the_task_leaves_nothing_for_others() -> None:
    retry = Retry(max_runs=1, on=("exit-nonzero",), fallback=Fallback(command=("slow",)))
    delayed = after(state(PURE.model_copy(update={"retry": retry})), GRANT, START, FAILED)
    last = after(delayed, Wake(1), GRANT)
    assert isinstance(last, Held)
    finish = DONE.model_copy(update={"run_id": last.lease.run_id, "fence": last.lease.fence})

    end = decide(last, finish, NOW)[-1]

    assert isinstance(end, e.TaskSucceeded)
    assert (last.facts.fallback, end.cache, kept(last.facts)) == (True, None, None)


def test_a_queued_task_takes_all_that_another_left_and_says_whose_it_is_and_keeps_nothing() -> None:
    (end,) = decide(state(PURE), Reuse(2, FIRST, LEFT), NOW)

    assert end == e.TaskSucceeded(
        task_id=str(TASK), runs=0, exit_code=0, result={"rows": 3}, artifacts=LEFT.artifacts, cached_from=FIRST
    )


def test_runs_that_failed_before_count_on() -> None:
    waits = after(state(PURE.model_copy(update={"retry": Retry(first=timedelta(0))})), GRANT, START, FAILED, Wake(1))
    assert isinstance(waits, Queued)

    (end,) = decide(waits, Reuse(waits.since, FIRST, LEFT), NOW)

    assert isinstance(end, e.TaskSucceeded)
    assert end.runs == 1


@pytest.mark.parametrize("name", [name for name, one in STATES.items() if not isinstance(one, Queued)])
def test_a_task_that_is_not_queued_takes_nothing(name: str) -> None:
    assert decide(STATES[name], Reuse(2, FIRST, LEFT), NOW) == []


def test_a_task_that_was_queued_anew_since_looks_anew() -> None:
    assert decide(state(PURE), Reuse(1, FIRST, LEFT), NOW) == []


def test_a_task_that_is_over_time_expires_instead() -> None:
    late = state(PURE.model_copy(update={"expires_at": NOW}))

    assert decide(late, Reuse(2, FIRST, LEFT), NOW) == [e.TaskExpired(task_id=str(TASK), reason="expires-at", runs=0)]


def test_a_task_that_is_run_once_more_runs_and_is_kept() -> None:
    ended = after(state(PURE), GRANT, DONE)
    spec, origin = once_more(ended, "again")
    first, *_ = submit_task(spec, TASK, {}, Types("image"), origin)
    again = fold(first, QUEUED)

    assert spec.cache == PURE.cache
    assert (looks(ended.facts.submitted), looks(again.facts.submitted)) == (True, False)
    assert kept(again.facts) == kept(ended.facts)


def test_the_children_of_a_task_that_is_run_once_more_run_and_those_of_a_fork_need_not() -> None:
    each = TaskSpec.model_validate({"for_each": {"items": [1], "task": {"container": PLAIN, "cache": {}}}})
    first = state(each)
    spec, origin = once_more(after(first, Gather({"failed": 1})), "again")
    again = fold(*submit_task(spec, TASK, {}, Types("image"), origin))
    fork = Again(e.ForkPoint(task_id="T1", stream=TASK, version=2))
    forked = fold(*submit_task(each, TASK, {}, Types("image"), fork))

    assert [looks(child_of(one)) for one in (first, again, forked)] == [True, False, True]


@given(st.integers(0, 9), st.integers(1, 9), st.integers(0, 20), st.integers(1, 9))
def test_a_result_is_taken_while_it_is_young_enough_for_both_sides(ended: int, ttl: int, at: int, own: int) -> None:
    moment = [NOW + timedelta(hours=n) for n in range(31)]
    entry = Entry(b"k", TASK, moment[ended], moment[ended + ttl])
    look = Look(TASK, b"k", timedelta(hours=own), moment[at])

    assert takes(look, entry) is (at - ended < min(ttl, own))


def state(spec: TaskSpec) -> Task:
    return fold(*submit_task(spec, TASK, {}, Types("image")))


def child_of(parent: Task) -> e.TaskSubmitted:
    assert isinstance(parent, Spread)
    ((submitted, _),) = children(parent, range(1), {})
    assert isinstance(submitted, e.TaskSubmitted)
    return submitted
