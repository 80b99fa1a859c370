"""What the conductor makes of time: leases that ran out, workers not heard, runs past their time; on every store."""

from datetime import UTC, datetime, timedelta

from domain.events import TaskExpired
from domain.folding import worker_of
from domain.retry_spec import Retry
from domain.specs import AtLeast, DependsOn, TaskSpec
from domain.task import Cancel, Free
from domain.task_states import Delayed, Leased, Queued
from domain.worker import worker_stream
from tests.support.conducting import conductor, settle, spec, stream
from tests.support.conducting_place import Place, place

__all__ = ["place"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def test_an_offer_that_nobody_accepts_is_made_again_as_the_same_run(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a"))
    await place.settle()
    first = await place.world.task("a")

    await place.world.advance(20.0)
    await place.world.beat("w1", beat=2)
    await settle_closings(place)

    again = await place.world.task("a")
    assert await place.world.types("a") == [
        "submitted",
        "queued",
        "run-leased",
        "lease-expired",
        "queued",
        "run-leased",
    ]
    assert isinstance(first, Leased)
    assert isinstance(again, Leased)
    assert (again.lease.run_id, again.lease.fence) == (first.lease.run_id, 2)
    assert await place.world.leases() == {"w1": 1}


async def test_a_run_whose_worker_falls_silent_is_lost_and_run_again_elsewhere(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a"))
    await place.settle()
    await place.world.start("a")
    await place.world.register("w2")
    await place.settle()

    await place.world.advance(20.0)
    await place.world.beat("w2", beat=2)
    await settle_closings(place)

    state = await place.world.task("a")
    assert isinstance(state, Leased)
    assert (state.lease.worker_id, state.facts.run, state.facts.losses) == ("w2", 2, 1)
    lost = worker_of((await place.world.load([worker_stream("w1")]))[worker_stream("w1")])
    assert lost is not None
    assert lost.lost


async def test_a_worker_that_registers_but_never_beats_is_lost(place: Place) -> None:
    await place.world.register("w1")
    await place.world.register("w1", instance=2)
    await place.settle()
    await place.world.beat("w1", generation=1, beat=99)

    await place.world.advance(14.0)
    await settle_closings(place)
    assert await worker_types(place, "w1") == ["registered", "registered"]

    await place.world.advance(1.0)
    await settle_closings(place)
    assert await worker_types(place, "w1") == ["registered", "registered", "lost"]


async def test_a_run_past_its_time_is_told_to_stop_once(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a", run=timedelta(microseconds=1)))
    await place.settle()
    await place.world.start("a")
    place.world.wait()

    await place.settle()
    await place.settle()

    assert (await place.world.types("a"))[-2:] == ["run-started", "run-timing-out"]


async def test_a_run_that_ends_in_time_leaves_no_timer(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a"))
    await place.settle()
    await place.world.start("a")
    await place.settle()
    assert await place.world.left_over() == 2

    await place.world.finish("a")
    await place.settle()

    assert await place.world.left_over() == 0


async def settle_closings(place: Place) -> None:
    """As the clock was moved by hand: a new conductor looks at all leases in its first round."""
    await settle(conductor(place.conducting.seat))


async def worker_types(place: Place, worker_id: str) -> list[str]:
    own = worker_stream(worker_id)
    return [row.type.split(".")[1] for row in (await place.world.load([own]))[own]]


async def test_a_failed_run_is_followed_by_another_when_its_time_has_come(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a", retry=Retry(max_runs=2)), spec("b", retry=Retry(max_runs=2)))
    await place.settle()
    await place.world.finish("a", exit_code=1, now=EPOCH)
    await place.world.finish("b", exit_code=1, now=EPOCH + timedelta(days=36_500))
    await place.settle()

    a, b = await place.world.task("a"), await place.world.task("b")
    assert isinstance(a, Leased)
    assert (a.facts.run, a.facts.failures) == (2, 1)
    assert isinstance(b, Delayed)
    assert (await place.world.types("a"))[-3:] == ["run-failed", "queued", "run-leased"]
    queued = (await place.world.load([stream("a")]))[stream("a")][-2]
    failed = (await place.world.load([stream("a")]))[stream("a")][-3]
    assert (queued.cause.actor, queued.cause.causation_id) == ("timekeeper", str(failed.event_id))


async def test_a_task_cancelled_while_it_waits_for_its_next_run_has_none(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a", retry=Retry(max_runs=2)))
    await place.settle()
    await place.world.finish("a", exit_code=1, now=EPOCH + timedelta(days=36_500))
    await place.settle()

    await place.world.decide("a", Cancel("alice"))
    await place.settle()

    assert (await place.world.types("a"))[-2:] == ["run-failed", "cancelled"]
    assert await place.world.left_over() == 0


PAST, FUTURE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)


def timed(name: str, **given: object) -> TaskSpec:
    return TaskSpec.model_validate({"task_id": name, "executor": "noop", **given})


async def test_a_task_is_queued_when_its_time_has_come(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("up"), timed("due", not_before=PAST), timed("early", not_before=FUTURE))
    needs = [{"task_id": "up"}]
    await place.world.submit(
        timed("freed", not_before=PAST, depends_on=needs), timed("freed-early", not_before=FUTURE, depends_on=needs)
    )
    await place.settle()
    await place.world.finish("up")
    await place.settle()

    assert await place.world.types("due") == ["submitted", "blocked", "queued", "run-leased"]
    assert await place.world.types("early") == ["submitted", "blocked"]
    assert await place.world.types("freed") == ["submitted", "blocked", "queued", "run-leased"]
    assert await place.world.types("freed-early") == ["submitted", "blocked", "blocked"]
    assert isinstance(await place.world.task("freed-early"), Delayed)


async def test_a_task_that_waits_too_long_expires_and_what_needs_it_is_skipped(place: Place) -> None:
    await place.world.submit(
        timed("queued", expires_at=PAST),
        timed("delayed", not_before=PAST - timedelta(days=1), expires_at=PAST),
        timed("in-time", expires_at=FUTURE, timeouts={"queue": timedelta(days=365)}),
        timed("too-long", timeouts={"queue": timedelta(microseconds=1)}),
    )
    await place.world.submit(timed("blocked", expires_at=PAST, depends_on=[{"task_id": "in-time"}]))
    await place.world.submit(spec("after", "queued"), spec("anyway", DependsOn(task_id="queued", when="always")))
    await place.world.register("w1", pool="elsewhere")
    place.world.wait()
    await place.settle()

    for name in ("queued", "blocked", "delayed", "too-long"):
        assert (await place.world.types(name))[-1] == "expired", name
    assert await place.world.types("after") == ["submitted", "blocked", "skipped"]
    assert await place.world.types("anyway") == ["submitted", "blocked", "queued"]
    assert isinstance(await place.world.task("in-time"), Queued)


async def test_a_task_that_was_given_to_a_worker_in_time_does_not_expire(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(timed("a", timeouts={"queue": timedelta(days=365)}, expires_at=FUTURE))
    await place.settle()
    await place.world.start("a")
    await place.settle()
    await place.world.finish("a")
    await place.settle()

    assert (await place.world.types("a"))[-1] == "succeeded"
    assert await place.world.left_over() == 0


def waiting(name: str, **spans: timedelta) -> TaskSpec:
    return spec(name, *(DependsOn(task_id=one, forward=span) for one, span in spans.items()))


HOUR, YEAR = timedelta(hours=1), timedelta(days=365)


async def test_a_task_waits_for_one_that_is_submitted_later_as_for_any_other(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(waiting("b", a=YEAR), now=FUTURE)
    await place.settle()
    assert await place.world.types("b") == ["submitted", "blocked"]

    await place.world.submit(spec("a"))
    await place.settle()
    await place.world.finish("a")
    await place.settle()

    assert await place.world.types("b") == ["submitted", "blocked", "queued", "run-leased"]
    await place.world.finish("b")
    await place.settle()
    assert await place.world.left_over() == 0


async def test_a_task_expires_when_nobody_has_submitted_in_time_what_it_waits_for(place: Place) -> None:
    await place.world.submit(waiting("b", a=HOUR), waiting("c", a=YEAR), now=PAST)
    await place.world.submit(spec("after", "b"), spec("anyway", DependsOn(task_id="b", when="always")))
    await place.settle()

    rows = (await place.world.load([stream("b")]))[stream("b")]
    assert rows[-1].event() == TaskExpired(task_id="b", reason="forward-deadline", because="a")
    assert rows[-1].cause.actor == "timekeeper"
    assert await place.world.types("after") == ["submitted", "blocked", "skipped"]
    assert await place.world.types("anyway") == ["submitted", "blocked", "queued"]

    await place.world.submit(spec("a"))
    await place.settle()
    assert await place.world.types("a") == ["submitted", "queued"]


async def test_a_task_that_was_submitted_in_time_keeps_no_one_from_waiting_on(place: Place) -> None:
    await place.world.submit(waiting("b", a=HOUR), now=PAST)
    await place.world.submit(spec("a"))
    await place.settle()

    assert await place.world.types("b") == ["submitted", "blocked"]


async def test_each_of_several_tasks_that_are_to_come_has_its_own_time(place: Place) -> None:
    either = AtLeast(at_least=1, of=(DependsOn(task_id="c", forward=YEAR), DependsOn(task_id="d", forward=YEAR)))
    needs: list[DependsOn | AtLeast] = [DependsOn(task_id="a", forward=HOUR), either]
    await place.world.submit(spec("early", *needs), now=FUTURE - YEAR)
    await place.world.submit(spec("late", *needs), now=PAST)
    await place.world.submit(spec("a"))
    await place.settle()

    late = (await place.world.load([stream("late")]))[stream("late")]
    assert late[-1].event() == TaskExpired(task_id="late", reason="forward-deadline", because="c")
    assert await place.world.types("early") == ["submitted", "blocked"]


async def test_the_time_of_a_forward_reference_has_no_power_once_the_task_waits_no_more(place: Place) -> None:
    await place.world.submit(waiting("b", a=HOUR), now=PAST)
    await place.world.decide("b", Free())

    await place.settle()

    assert await place.world.types("b") == ["submitted", "blocked", "queued"]
