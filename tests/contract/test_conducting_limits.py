"""What limits, labels and places make of the queue, on every store of the conductor's rows."""

from datetime import UTC, datetime, timedelta

from consumers.conductor import PAGE
from consumers.noting import TYPES
from domain import events as e
from domain.limit import Limit, Set, decide, limit_stream
from domain.placing import Concurrency, Rate, Requires, WhenFull
from domain.recorded import new_events
from domain.retry_spec import Retry
from domain.specs import DependsOn, TaskSpec
from domain.task import Cancel, Pause, Resume
from domain.task_states import Cancelling, Ended, Leased, Queued
from tests.support.conducting import PgWorld, spec, stream
from tests.support.conducting_place import Place, place
from tests.support.ended_tasks import CAUSE

__all__ = ["place"]


def keyed(name: str, when_full: WhenFull = "queue", limit: int = 1, key: str = "k") -> TaskSpec:
    asked = Concurrency(key=key, limit=limit, when_full=when_full)
    return spec(name).model_copy(update={"concurrency": asked})


def requiring(name: str, *needs: str | DependsOn, **requires: object) -> TaskSpec:
    return spec(name, *needs).model_copy(update={"requires": Requires.model_validate(requires)})


async def leased(place: Place, *names: str) -> list[str]:
    return [name for name in names if isinstance(await place.world.task(name), Leased)]


async def set_limit(place: Place, scope: str, most: int | None = None, rate: Rate | None = None) -> None:
    own = limit_stream(scope)
    rows = (await place.world.load([own])).get(own, [])
    before: Limit | None = None
    for row in rows:
        event = row.event()
        assert isinstance(event, e.LimitChanged)
        before = Limit(own, row.version, event)
    events = decide(before, Set(scope, most, rate, "alice"))
    await place.world.append(new_events(own, len(rows), "default", events, CAUSE))


async def test_a_namespace_has_no_more_leases_than_its_limit_and_more_when_it_is_raised(place: Place) -> None:
    await place.world.register("w1", slots=4)
    await set_limit(place, "namespace:default", 1)
    await place.world.submit(spec("a"), spec("b"), spec("c"))
    await place.settle()
    assert await leased(place, "a", "b", "c") == ["a"]

    await set_limit(place, "namespace:default", 2)
    await place.settle()
    assert await leased(place, "a", "b", "c") == ["a", "b"]

    await set_limit(place, "namespace:default")
    await place.settle()
    assert await leased(place, "a", "b", "c") == ["a", "b", "c"]


async def test_the_next_of_a_key_is_leased_when_the_lease_before_has_ended(place: Place) -> None:
    await place.world.register("w1", slots=4)
    await place.world.submit(keyed("a"), keyed("b"), keyed("other", key="x"), spec("plain"))
    await place.settle()
    assert await leased(place, "a", "b", "other", "plain") == ["a", "other", "plain"]

    await place.world.finish("a")
    await place.settle()

    assert await leased(place, "b") == ["b"]


async def test_a_freed_task_keeps_to_its_limit_in_the_round_that_frees_it(place: Place) -> None:
    await place.world.register("w1", slots=4)
    needs = {"depends_on": (DependsOn(task_id="root"),)}
    await place.world.submit_workflow(
        spec("root"), *(keyed(name).model_copy(update=needs) for name in ("a", "b")), spec("c", "root")
    )
    await place.settle()
    await place.world.finish("root")
    await place.settle()

    assert len(await leased(place, "a", "b")) == 1
    assert await leased(place, "c") == ["c"]


async def test_a_workflow_runs_no_more_tasks_at_once_than_it_says(place: Place) -> None:
    await place.world.register("w1", slots=9)
    await place.world.submit_workflow(*(spec(f"t{n}") for n in range(5)), max_parallel=2)
    await place.world.submit(spec("alone"))
    await place.settle()
    names = [f"t{n}" for n in range(5)]
    assert len(await leased(place, *names)) == 2
    assert await leased(place, "alone") == ["alone"]

    await place.world.finish((await leased(place, *names))[0])
    await place.settle()

    assert len(await leased(place, *names)) == 2


async def test_the_oldest_of_a_key_is_cancelled_for_the_newest(place: Place) -> None:
    await place.world.register("w1", slots=4)
    await place.world.submit(keyed("a", "cancel-oldest"))
    await place.settle()
    await place.world.submit(keyed("b", "cancel-oldest"), keyed("c", "cancel-oldest"))
    await place.settle()

    first, second, third = sorted(("a", "b", "c"), key=stream)
    assert isinstance(await place.world.task(first), Cancelling | Ended)
    assert isinstance(await place.world.task(second), Cancelling | Ended)
    if isinstance(await place.world.task("a"), Cancelling):
        assert isinstance(await place.world.task(third), Queued)
        await place.world.finish("a", exit_code=143)
        await place.settle()
    assert isinstance(await place.world.task(third), Leased)
    ended = (await place.world.load([stream(first)]))[stream(first)][-1].event()
    assert isinstance(ended, e.TaskCancelled)
    assert ended.reason == "key:default/k is limited to 1: a newer task takes the place"


async def test_nobody_is_cancelled_for_a_place_that_is_about_to_be_free(place: Place) -> None:
    older, ending, newest = sorted(("a", "b", "c"), key=stream)
    await place.world.register("w1", slots=4)
    await place.world.submit(*(keyed(name, "cancel-oldest", limit=2) for name in (older, ending)))
    await place.settle()
    await place.world.decide(ending, Cancel("alice"))
    await place.world.submit(keyed(newest, "cancel-oldest", limit=2))
    await place.settle()

    assert isinstance(await place.world.task(older), Leased)
    assert isinstance(await place.world.task(newest), Queued)

    await place.world.finish(ending, exit_code=143)
    await place.settle()
    assert isinstance(await place.world.task(older), Leased)
    assert isinstance(await place.world.task(newest), Leased)


async def test_the_newest_of_a_key_is_cancelled_where_an_older_one_has_its_place(place: Place) -> None:
    names = sorted(("a", "b", "c"), key=stream)
    await place.world.submit(*(keyed(name, "cancel-newest") for name in names))
    await place.settle()

    ends = [(await place.world.types(name))[-1] for name in names]

    assert ends == ["queued", "cancelled", "cancelled"]


async def test_a_rate_lets_no_more_start_in_its_span(place: Place) -> None:
    await place.world.register("w1", slots=9)
    await set_limit(place, "namespace:default", rate=Rate(starts=2, per=timedelta(hours=1)))
    await place.world.submit(spec("a"), spec("b"), spec("c"))
    await place.settle()
    await place.world.finish("a")
    await place.settle()

    assert isinstance(await place.world.task("c"), Queued)

    await set_limit(place, "namespace:default", rate=Rate(starts=3, per=timedelta(hours=1)))
    await place.settle()
    assert await leased(place, "c") == ["c"]


async def test_a_task_goes_to_a_worker_with_its_labels_alone(place: Place) -> None:
    await place.world.register("w1", slots=4)
    await place.world.submit(requiring("a", labels={"gpu": "a100"}), spec("b"))
    await place.settle()
    assert await leased(place, "a", "b") == ["b"]

    await place.world.register("w2", gpu="a100", zone="b")
    await place.settle()

    state = await place.world.task("a")
    assert isinstance(state, Leased)
    assert state.lease.worker_id == "w2"


async def test_a_task_follows_another_to_its_worker_and_to_no_other(place: Place) -> None:
    await place.world.register("w1", slots=2)
    await place.world.submit(spec("long"))
    await place.world.submit_workflow(spec("a"), requiring("b", "a", same_worker_as="a"))
    await place.settle()
    await place.world.register("w2", slots=9)
    await place.settle()

    await place.world.finish("a")
    await place.settle()

    state = await place.world.task("b")
    assert isinstance(state, Leased)
    assert state.lease.worker_id == "w1"


async def test_rows_made_anew_from_the_whole_log_count_the_leases_there_are(place: Place) -> None:
    await place.world.register("w1", slots=4)
    await set_limit(place, "namespace:default", 1)
    await place.world.submit(keyed("a"))
    await place.settle()
    await place.world.submit(spec("b"))
    await place.settle()

    await place.world.forget()
    if isinstance(place.world, PgWorld):
        vars(place.conducting.seat)["_position"] = 0
    await place.settle()

    assert await leased(place, "a", "b") == ["a"]


async def test_a_task_that_is_queued_and_leased_on_two_pages_does_not_go_for_itself(place: Place) -> None:
    await place.world.register("w1", slots=4)
    needs = {"depends_on": (DependsOn(task_id="root"),)}
    await place.world.submit_workflow(spec("root"), keyed("a", "cancel-oldest").model_copy(update=needs))
    await place.settle()
    await place.world.finish("root")
    await place.conducting.step(await place.conducting.seat.page(PAGE, TYPES))
    assert await leased(place, "a") == ["a"]

    await place.conducting.step(await place.conducting.seat.page(1, TYPES))
    await place.settle()

    assert await leased(place, "a") == ["a"]


async def test_a_task_cancelled_before_its_turn_costs_nobody_a_start(place: Place) -> None:
    await place.world.register("w1", slots=9)
    await set_limit(place, "namespace:default", rate=Rate(starts=1, per=timedelta(hours=1)))
    await place.settle()
    await place.world.submit(spec("a"), spec("b"))
    page = await place.conducting.seat.page(PAGE, TYPES)
    await place.world.decide("a", Cancel("alice"))

    await place.conducting.step(page)
    await place.settle()

    assert await leased(place, "b") == ["b"]


async def test_a_round_that_finds_nothing_but_cancelled_tasks_in_the_queue_goes_on(place: Place) -> None:
    await place.world.register("w1", slots=9)
    await place.settle()
    await place.world.submit(spec("a"))
    page = await place.conducting.seat.page(PAGE, TYPES)
    await place.world.decide("a", Cancel("alice"))

    await place.conducting.step(page)
    await place.settle()

    assert isinstance(await place.world.task("a"), Ended)


async def test_tasks_that_are_over_when_a_worker_comes_expire_however_many(place: Place) -> None:
    over = datetime(2026, 1, 1, tzinfo=UTC)
    names = [f"t{n}" for n in range(70)]
    await place.world.submit(*(spec(name).model_copy(update={"expires_at": over}) for name in names))
    await place.world.register("w1", slots=100)

    await place.settle()

    assert {(await place.world.types(name))[-1] for name in names} == {"expired"}


async def test_of_many_that_are_crowded_out_none_is_leased_first(place: Place) -> None:
    await place.world.register("w1", slots=9)
    names = sorted((f"t{n}" for n in range(70)), key=stream)
    urgent = keyed(names[-1], "cancel-newest").model_copy(update={"priority": 10})
    await place.world.submit(*(keyed(name, "cancel-newest") for name in names[:-1]), urgent)

    await place.settle()

    assert await leased(place, *names) == [names[0]]


async def test_a_task_that_was_queued_anew_just_before_it_was_leased_does_not_count_as_queued(place: Place) -> None:
    await place.world.register("w1", slots=1)
    await place.settle()
    retry = Retry(max_runs=2, first=timedelta(hours=1))
    await place.world.submit(keyed("a", "cancel-newest").model_copy(update={"retry": retry}))
    page = await place.conducting.seat.page(PAGE, TYPES)
    await place.world.decide("a", Pause("bob"))
    await place.world.decide("a", Resume("bob"))
    await place.conducting.step(page)
    await place.settle()
    assert (await place.world.types("a"))[-2:] == ["queued", "run-leased"]

    await place.world.start("a")
    await place.world.finish("a", exit_code=1)
    await place.world.submit(keyed("b", "cancel-newest"))
    await place.settle()

    assert await leased(place, "b") == ["b"]
