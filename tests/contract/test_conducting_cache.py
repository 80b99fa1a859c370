"""A task that is equal to one that has succeeded takes what that one left; in memory and on PostgreSQL."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from consumers.conductor import PAGE
from consumers.noting import TYPES
from domain import events as e
from domain import limit as limits
from domain.caching import Entry, entry_of, key_for
from domain.limit import limit_stream
from domain.messages import Json
from domain.placing import Cache, Concurrency, Requires
from domain.ports.conducting import Notes
from domain.recorded import new_events
from domain.retry_spec import Fallback, Retry
from domain.specs import Container, DependsOn, TaskSpec
from domain.submitting import once_more, submit_task
from domain.task import Cancel, Pause, Resume
from domain.task_states import Ended, Held, Leased, Queued
from domain.task_type import Types
from tests.support.conducting import PgWorld, spec, stream
from tests.support.conducting_place import Place, place
from tests.support.ended_tasks import CAUSE

__all__ = ["place"]
HOUR = timedelta(hours=1)
KEPT = Cache(ttl=HOUR)


def pure(name: str, *needs: str | DependsOn, n: Json = 1, cache: Cache = KEPT, **said: object) -> TaskSpec:
    """A task whose key is made of `n`."""
    return spec(name, *needs, input={"n": n}).model_copy(update={"cache": cache, **said})


async def ran(place: Place, name: str, result: Json = None) -> None:
    """Have the task run to its end, alone."""
    await place.settle()
    await place.world.finish(name, result=result)
    await place.settle()


async def end_of(place: Place, name: str) -> e.TaskSucceeded:
    end = (await place.world.events(name))[-1]
    assert isinstance(end, e.TaskSucceeded)
    return end


async def taken(place: Place, names: Sequence[str]) -> list[str | None]:
    """Of which task each of these, all of which have succeeded, has its result."""
    ends = [await end_of(place, name) for name in names]
    return [end.cached_from.task_id if end.cached_from else None for end in ends]


async def test_the_second_task_takes_the_result_of_the_first_without_a_slot(place: Place) -> None:
    await place.world.register("w1", slots=1)
    await place.world.submit(pure("a"))
    await ran(place, "a", {"rows": 7})
    await place.world.submit(spec("long"))
    await place.settle()

    await place.world.submit(pure("b", priority=9, labels={"team": "data"}))
    await place.settle()

    ended = (await place.world.load([stream("a")]))[stream("a")][-1]
    first = e.CachedFrom(task_id="a", stream=stream("a"), ended_at=ended.recorded_at)
    assert (await place.world.events("b"))[2:] == [
        e.TaskSucceeded(task_id="b", runs=0, result={"rows": 7}, exit_code=0, cached_from=first)
    ]
    assert await place.world.leases() == {"w1": 1}
    last = (await place.world.load([stream("b")]))[stream("b")][-1]
    assert (last.cause.correlation_id, last.cause.actor) == (CAUSE.correlation_id, "dispatcher")
    await place.world.finish("long")
    await place.settle()
    assert await place.world.left_over() == 0


@pytest.mark.parametrize(
    "other",
    [
        pure("b", n=2),
        pure("b", cache=Cache(ttl=HOUR, version="2")),
        spec("b", input={"n": 1}),
    ],
)
async def test_a_task_that_is_not_equal_or_does_not_say_so_runs(place: Place, other: TaskSpec) -> None:
    await place.world.register("w1")
    await place.world.submit(pure("a"))
    await ran(place, "a")

    await place.world.submit(other)
    await place.settle()

    assert isinstance(await place.world.task("b"), Leased)


async def test_nothing_is_taken_of_another_namespace(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(pure("a"))
    await ran(place, "a")

    theirs = submit_task(pure("b"), stream("b"), {}, Types("image"))
    await place.world.append(new_events(stream("b"), 0, "other", theirs, CAUSE))
    await place.settle()

    assert isinstance(await place.world.task("b"), Leased)


async def test_what_failed_or_was_cancelled_is_not_taken(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(pure("failed"), pure("cancelled", n=2))
    await place.settle()
    await place.world.finish("failed", exit_code=3)
    await place.world.decide("cancelled", Cancel("alice"))
    await place.world.finish("cancelled", exit_code=0)
    await place.settle()

    await place.world.submit(pure("b"), pure("c", n=2))
    await place.settle()

    assert [isinstance(await place.world.task(name), Leased) for name in "bc"] == [True, True]


async def test_what_stood_in_for_a_task_is_not_taken(place: Place) -> None:
    await place.world.register("w1")
    retry = Retry(max_runs=1, on=("exit-nonzero",), first=timedelta(0), fallback=Fallback(command=("slow",)))
    image: dict[str, Any] = {"executor": "docker", "container": Container(image=f"busybox@sha256:{1:064x}")}
    await place.world.submit(pure("a", retry=retry, **image))
    await place.settle()
    await place.world.finish("a", exit_code=3)
    place.world.wait()
    await place.settle()
    await place.world.finish("a")
    await place.world.submit(pure("b", **image))
    await place.settle()

    assert (await end_of(place, "a")).cache is None
    assert isinstance(await place.world.task("b"), Leased)


async def test_equal_tasks_that_run_side_by_side_both_run_and_one_that_waits_takes_what_comes_first(
    place: Place,
) -> None:
    await place.world.register("w1", slots=2)
    await place.world.submit(pure("a"), pure("b"), pure("c"))
    await place.settle()
    held = [name for name in "abc" if isinstance(await place.world.task(name), Held)]
    (waits,) = set("abc") - set(held)

    await place.world.finish(held[0], result={"by": held[0]})
    await place.settle()

    assert await taken(place, [waits]) == [held[0]]
    assert isinstance(await place.world.task(held[1]), Held)


async def test_with_a_key_of_one_place_equal_tasks_run_one_after_the_other_which_is_once(place: Place) -> None:
    await place.world.register("w1", slots=9)
    one: dict[str, Any] = {"concurrency": Concurrency(key="k")}
    await place.world.submit(*(pure(f"t{n}", **one) for n in range(5)))
    await place.settle()
    (runs,) = [name for n in range(5) if isinstance(await place.world.task(name := f"t{n}"), Held)]

    await place.world.finish(runs)
    await place.settle()

    others = [f"t{n}" for n in range(5) if f"t{n}" != runs]
    assert await taken(place, others) == [runs] * 4
    assert await place.world.left_over() == 0


async def test_a_result_is_not_taken_after_its_ttl_nor_one_older_than_the_other_task_accepts(place: Place) -> None:
    await place.world.register("w1")
    short, long = Cache(ttl=timedelta(microseconds=1)), Cache(ttl=HOUR)
    await place.world.submit(pure("short", cache=short), pure("long", n=2, cache=long))
    await place.settle()
    await place.world.finish("short")
    await place.world.finish("long")
    place.world.wait()

    await place.world.submit(pure("late", cache=long), pure("choosy", n=2, cache=short), pure("punctual", n=2))
    await place.settle()

    assert isinstance(await place.world.task("late"), Leased)
    assert isinstance(await place.world.task("choosy"), Leased)
    assert await taken(place, ["punctual"]) == ["long"]


async def test_the_ttl_counts_from_the_end_of_the_first_and_is_not_prolonged_by_who_takes_it(
    place: Place,
) -> None:
    await place.world.register("w1")
    await place.world.submit(pure("a"))
    await ran(place, "a")
    await place.world.submit(pure("b"))
    await place.settle()

    later = submit_task(pure("c"), stream("c"), {}, Types("image"))
    at = await place.world.now() + HOUR
    for event in new_events(stream("c"), 0, "default", later, CAUSE):
        await place.world.append_at(event, at)
    await place.settle()

    assert await taken(place, ["b"]) == ["a"]
    assert isinstance(await place.world.task("c"), Leased)


async def test_a_task_just_freed_looks_before_it_is_given_out_and_what_it_takes_frees_others(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(pure("a"))
    await ran(place, "a", {"rows": 7})

    asks = {"input": {"rows": "{{tasks.b.result.rows}}"}}
    await place.world.submit(spec("x"), pure("b", "x"), spec("c", "b").model_copy(update=asks))
    await ran(place, "x")

    assert await place.world.types("b") == ["submitted", "blocked", "queued", "succeeded"]
    filled = (await place.world.events("c"))[2]
    assert filled == e.TaskFilled(task_id="c", input={"rows": 7})


async def test_templates_are_looked_for_as_they_are_filled(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(pure("a", n=7))
    await ran(place, "a")
    asks = "{{tasks.x.result.n}}"
    await place.world.submit(spec("x"), spec("y"), pure("b", "x", n=asks), pure("c", "y", n="{{tasks.y.result.n}}"))
    await place.settle()

    await place.world.finish("x", result={"n": 7})
    await place.world.finish("y", result={"n": 8})
    await place.settle()

    assert await place.world.types("b") == ["submitted", "blocked", "filled", "queued", "succeeded"]
    assert isinstance(await place.world.task("c"), Leased)


async def test_a_task_that_is_run_once_more_runs_and_its_result_is_the_one_to_take(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(pure("a"))
    await ran(place, "a", {"n": "old"})
    new, origin = once_more(await place.world.task("a"), "again")
    again = submit_task(new, stream("again"), {}, Types("image"), origin)
    await place.world.append(new_events(stream("again"), 0, "default", again, CAUSE))
    await ran(place, "again", {"n": "new"})

    await place.world.submit(pure("b"))
    await place.settle()

    assert (await place.world.types("again"))[2] == "run-leased"
    assert (await end_of(place, "b")).result == {"n": "new"}


async def test_a_run_that_failed_is_followed_by_a_look(place: Place) -> None:
    await place.world.register("w1", slots=2)
    later = Retry(max_runs=2, first=timedelta(0))
    await place.world.submit(pure("a"), pure("b", retry=later))
    await place.settle()
    await place.world.finish("b", exit_code=3)
    await place.world.finish("a")
    place.world.wait()
    await place.settle()

    assert await taken(place, ["b"]) == ["a"]
    assert (await end_of(place, "b")).runs == 1


async def test_a_paused_task_takes_nothing_before_it_is_resumed(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(pure("a"))
    await ran(place, "a")
    await place.world.submit(pure("b"))
    await place.world.decide("b", Pause("bob"))
    await place.settle()
    assert (await place.world.types("b"))[-1] == "paused"

    await place.world.decide("b", Resume("bob"))
    await place.settle()

    assert await taken(place, ["b"]) == ["a"]
    assert await place.world.left_over() == 0


async def test_neither_a_limit_nor_missing_workers_hold_up_a_task_that_takes_a_result(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(pure("a"))
    await ran(place, "a")
    wanted = limits.Set("namespace:default", 0, None, "alice")
    own = limit_stream("namespace:default")
    await place.world.append(new_events(own, 0, "default", limits.decide(None, wanted), CAUSE))

    await place.world.submit(pure("b"), pure("c", requires=Requires(pool="empty")))
    await place.settle()

    assert await taken(place, ["b", "c"]) == ["a", "a"]


async def test_one_that_takes_a_result_crowds_nobody_out(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(pure("a"))
    await ran(place, "a")
    one: dict[str, Any] = {"concurrency": Concurrency(key="k", when_full="cancel-oldest")}
    await place.world.submit(spec("runs").model_copy(update=one))
    await place.settle()

    await place.world.submit(pure("b", **one))
    await place.settle()

    assert await taken(place, ["b"]) == ["a"]
    assert isinstance(await place.world.task("runs"), Leased)


async def test_more_than_a_round_decides_take_theirs_in_the_next_ones_and_none_of_them_runs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.conductor.AGENDA_LIMIT", 2)
    await place.world.register("w1", slots=20)
    await place.world.submit(pure("a"))
    await ran(place, "a")
    many = [f"t{n}" for n in range(7)]

    await place.world.submit(*(pure(name) for name in many), spec("plain"))
    await place.settle()

    assert await taken(place, many) == ["a"] * 7
    assert isinstance(await place.world.task("plain"), Leased)


async def test_results_that_are_taken_come_off_what_a_round_grants(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.conductor.GRANT_LIMIT", 3)
    await place.world.register("w1", slots=20)
    await place.world.submit(pure("a"))
    await ran(place, "a")
    names = ["b", "c", "x", "y", "z"]
    await place.world.submit(pure("b"), pure("c"), spec("x"), spec("y"), spec("z"))

    await place.conducting.step(await place.conducting.seat.page(PAGE, TYPES))

    lasts = sorted([(await place.world.types(name))[-1] for name in names])
    assert lasts == ["queued", "queued", "run-leased", "succeeded", "succeeded"]


async def test_a_result_that_the_log_does_not_tell_any_more_is_not_waited_for(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(pure("a"))
    key, now = entry_of("default", key_for((await place.world.task("a")).facts)), await place.world.now()
    async with place.conducting.seat.turn() as turn:
        await turn.note(Notes(entries=[Entry(key, stream("erased"), now, now + HOUR)]))

    await place.settle()

    assert isinstance(await place.world.task("a"), Leased)
    await place.world.finish("a")
    await place.world.submit(pure("b"))
    await place.settle()
    assert await taken(place, ["b"]) == ["a"]


async def test_a_place_that_was_left_and_taken_again_is_no_reason_to_take_an_old_result(place: Place) -> None:
    """A conductor that begins anew meets the first time in the queue when the log is long past it."""
    await place.world.submit(pure("a"), spec("last"))
    submitted = submit_task(pure("b"), stream("b"), {}, Types("image"))
    await place.world.register("w1")
    await ran(place, "a")
    (first, queued), at = new_events(stream("b"), 0, "default", submitted, CAUSE), await place.world.now()
    await place.world.append_at(first, at)
    await place.world.append_at(queued, at)
    await place.world.decide("b", Pause("bob"))
    resumed = [e.TaskResumed(task_id="b", by="bob"), submitted[1].model_copy(update={"after": "pause"})]
    for event in new_events(stream("b"), 3, "default", resumed, CAUSE):
        await place.world.append_at(event, at + HOUR)
    position = (await place.world.load([stream("b")]))[stream("b")][1].position

    page = await place.conducting.seat.page(100)
    early = [event for event in page.events if event.position <= position]
    await place.conducting.step(replace(page, events=early, up_to=position))
    await place.settle()

    assert isinstance(await place.world.task("b"), Leased)


async def test_a_task_that_was_resumed_since_a_result_was_over_does_not_take_it(place: Place) -> None:
    await place.world.register("w1", slots=1)
    await place.world.submit(pure("a", cache=Cache(ttl=timedelta(microseconds=1)), priority=9), pure("b"))
    await place.settle()
    await place.world.finish("a")
    place.world.wait()
    await place.world.decide("b", Pause("bob"))
    await place.world.decide("b", Resume("bob"))

    await place.settle()

    assert isinstance(await place.world.task("b"), Leased)


async def test_rows_that_are_made_anew_keep_the_same_results_and_find_them(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(pure("a"), pure("x", n=2))
    await place.settle()
    await place.world.finish("a")
    await place.settle()
    await place.world.submit(pure("b"), pure("y", n=2, requires=Requires(pool="empty")))
    await place.settle()
    before = {name: await place.world.types(name) for name in "abxy"}

    await place.world.forget()
    if isinstance(place.world, PgWorld):
        vars(place.conducting.seat)["_position"] = 0
    await place.settle()

    assert {name: await place.world.types(name) for name in "abxy"} == before
    assert isinstance(await place.world.task("y"), Queued)
    await place.world.finish("x")
    await place.world.submit(pure("c"))
    await place.settle()
    assert await taken(place, ["b", "c", "y"]) == ["a", "a", "x"]


async def test_results_that_nobody_may_take_any_more_are_forgotten(place: Place) -> None:
    now = await place.world.now()
    ends = {b"old": now - timedelta(days=1, seconds=1), b"late": now - timedelta(hours=1), b"young": now + HOUR}
    async with place.conducting.seat.turn() as turn:
        entries = [Entry(key, stream("a"), now - timedelta(days=9), until) for key, until in ends.items()]
        await turn.note(Notes(entries=entries))

    async with place.conducting.seat.turn() as turn:
        await turn.make_partitions()

    assert await place.world.kept() == {b"late", b"young"}


async def test_a_task_that_ended_meanwhile_leaves_its_place_for_nothing(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(pure("a"))
    await ran(place, "a")
    await place.world.submit(pure("b"))
    page = await place.conducting.seat.page(100)
    await place.world.decide("b", Cancel("alice"))

    await place.conducting.step(page)
    await place.settle()

    assert isinstance(ended := await place.world.task("b"), Ended)
    assert ended.status == "cancelled"
    assert await place.world.left_over() == 0
