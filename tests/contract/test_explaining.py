"""Why a task stands as it does, on every store: what is looked up, and that the next round does as it was said."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from adapters.event_log import connect
from adapters.explaining_store import PgExplaining
from adapters.in_memory.explaining import MemoryExplaining
from adapters.reading import open_reader
from consumers.noting import notes_of
from domain import events as e
from domain.explaining import explain
from domain.limit import Limit, Set, decide, limit_stream
from domain.placing import Concurrency, Rate, Requires
from domain.ports.explaining import Explaining
from domain.recorded import new_events
from domain.specs import DependsOn, TaskSpec
from domain.task import Cancel, Pause
from domain.task_states import Ended, Held
from domain.worker import worker_stream
from tests.support.conducting import MemoryWorld, PgWorld, World, conductor, fan_out, spec, stream
from tests.support.conducting_place import Place
from tests.support.ended_tasks import CAUSE


@dataclass(frozen=True, slots=True)
class Asked:
    """A conductor's world, and one to ask about it."""

    place: Place
    explaining: Explaining

    @property
    def world(self) -> World:
        return self.place.world

    async def why(self, name: str, reach: frozenset[str] | None = None) -> dict[str, dict[str, Any]]:
        """The causes by their codes, in order."""
        known = await self.explaining.known(stream(name), reach)
        assert known is not None
        return {one.code: {"detail": one.detail, **one.facts} for one in explain(known).causes}

    async def codes(self, name: str) -> list[str]:
        return list(await self.why(name))

    async def noted(self, worker_id: str) -> None:
        """The conductor has read that the worker is there, and has not given out anything since."""
        rows = (await self.world.load([worker_stream(worker_id)]))[worker_stream(worker_id)]
        async with self.place.conducting.seat.turn() as turn:
            await turn.note(await notes_of(turn, rows))

    async def limit(self, scope: str, most: int | None = None, rate: Rate | None = None) -> None:
        own = limit_stream(scope)
        before: Limit | None = None
        rows = (await self.world.load([own])).get(own, [])
        for row in rows:
            event = row.event()
            assert isinstance(event, e.LimitChanged)
            before = Limit(own, row.version, event)
        events = decide(before, Set(scope, most, rate, "alice"))
        await self.world.append(new_events(own, len(rows), "default", events, CAUSE))
        await self.place.settle()


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def asked(request: pytest.FixtureRequest) -> AsyncGenerator[Asked]:
    if request.param == "memory":
        memory = MemoryWorld()
        async with memory.seat() as seat:
            yield Asked(Place(memory, conductor(seat)), MemoryExplaining(memory.log, lambda: memory.rows))
        return
    pg = request.getfixturevalue("pg")
    async with await connect(pg.app, "test") as connection, open_reader(pg.read, 2) as reader:
        world = PgWorld(pg.app, connection)
        async with world.seat() as seat:
            yield Asked(Place(world, conductor(seat)), PgExplaining(reader))


def wanting(name: str, *needs: str, **said: Any) -> TaskSpec:
    return spec(name, *needs).model_copy(update=said)


async def test_a_task_that_is_not_there_is_not_known_nor_one_out_of_reach(asked: Asked) -> None:
    await asked.world.submit(spec("a"))

    assert await asked.explaining.known(stream("b"), None) is None
    assert await asked.explaining.known(stream("a"), frozenset({"other"})) is None
    assert await asked.explaining.known(stream("a"), frozenset({"default"})) is not None


async def test_a_blocked_task_names_those_that_have_not_ended_and_how_they_stand(asked: Asked) -> None:
    await asked.world.register("w1", slots=1)
    await asked.world.submit(spec("a"), spec("b"))
    await asked.world.submit(spec("c", "a", "b"))
    await asked.place.settle()
    first = "a" if isinstance(await asked.world.task("a"), Held) else "b"
    await asked.world.start(first)

    why = (await asked.why("c"))["dependency"]
    assert await asked.codes("c") == ["dependency"]
    assert why["status"] in {"running", "queued"}

    await asked.world.finish(first)
    await asked.place.settle()
    assert (await asked.why("c"))["dependency"]["task_id"] == ({"a", "b"} - {first}).pop()


async def test_a_task_that_nobody_has_submitted_is_told_as_such_until_somebody_does(asked: Asked) -> None:
    await asked.world.submit(spec("a"))
    until = await asked.world.now() + timedelta(hours=1)
    need = DependsOn(task_id="late", forward=timedelta(hours=1))
    needs = tuple(e.Upstream(task_id=name, stream=stream(name)) for name in ("a", "late"))
    waits = TaskSpec(task_id="w", executor="noop", depends_on=(DependsOn(task_id="a"), need))
    by = e.Blocker(task_id="a"), e.Blocker(task_id="late", forward_until=until)
    first = e.TaskSubmitted(task_id="w", spec=waits, depends_on=needs), e.TaskBlocked(task_id="w", by=by)
    await asked.world.append(new_events(stream("w"), 0, "default", first, CAUSE))
    await asked.place.settle()

    assert await asked.codes("w") == ["dependency", "not-submitted"]
    assert (await asked.why("w"))["not-submitted"]["task_id"] == "late"

    await asked.world.submit(spec("late", "a"))
    await asked.place.settle()
    why = (await asked.why("w"))["dependency"]
    assert await asked.codes("w") == ["dependency"]
    assert (why["task_id"], why["status"]) == ("late", "blocked")


async def test_between_an_end_and_the_saga_it_is_told_what_it_will_do(asked: Asked) -> None:
    await asked.world.register("w1", slots=2)
    await asked.world.submit(spec("a"), spec("b"))
    await asked.world.submit(spec("free", "a"), spec("doomed", "b"))
    await asked.place.settle()
    await asked.world.finish("a")
    await asked.world.finish("b", exit_code=3)

    assert await asked.codes("free") == ["to-be-queued"]
    assert await asked.codes("doomed") == ["to-be-skipped"]

    await asked.place.settle()
    assert (await asked.world.types("free"))[-1] in {"queued", "run-leased"}
    assert await asked.codes("doomed") == ["skipped"]


async def test_a_task_that_was_just_queued_is_not_seen_by_the_dispatcher(asked: Asked) -> None:
    await asked.world.submit(spec("a"))

    assert await asked.codes("a") == ["dispatcher-behind"]


async def test_what_workers_lack_is_told_until_one_comes(asked: Asked) -> None:
    gpu = wanting("a", requires=Requires(labels={"gpu": "a100"}))
    await asked.world.submit(gpu)
    await asked.place.settle()
    assert await asked.codes("a") == ["no-worker"]

    await asked.world.register("w1")
    await asked.place.settle()
    assert await asked.codes("a") == ["no-label"]

    await asked.world.register("w2", gpu="a100")
    await asked.noted("w2")
    assert await asked.codes("a") == ["due"]
    await asked.world.advance(20.0)
    assert await asked.codes("a") == ["worker-silent"]

    await asked.world.beat("w2")
    await asked.place.settle()
    assert await asked.codes("a") == ["offered"]


async def test_the_worker_of_another_task_that_is_gone_is_named(asked: Asked) -> None:
    await asked.world.register("w1")
    await asked.world.submit(spec("a"))
    await asked.place.settle()
    await asked.world.submit(wanting("b", "a", requires=Requires(same_worker_as="a")))
    await asked.place.settle()
    await asked.world.register("w1", pool="other", instance=2)
    await asked.world.finish("a")
    await asked.place.settle()
    assert (await asked.why("b"))["worker-gone"]["worker_id"] == "w1"

    await asked.world.register("w2")
    await asked.place.settle()
    assert (await asked.why("b"))["worker-gone"]["worker_id"] == "w1"


async def test_draining_workers_that_alone_fit_are_named_until_one_is_started(asked: Asked) -> None:
    for worker_id in ("w1", "w2"):
        await asked.world.register(worker_id, gpu="a100")
        await asked.world.drain(worker_id)
    await asked.world.register("w3")
    await asked.world.submit(wanting("a", requires=Requires(labels={"gpu": "a100"})))
    await asked.place.settle()

    assert (await asked.why("a"))["worker-draining"]["workers"] == ["w1", "w2"]

    await asked.world.start_worker("w2")
    await asked.noted("w2")
    assert await asked.codes("a") == ["due"]
    await asked.place.settle()
    assert await asked.codes("a") == ["offered"]


async def test_a_task_that_follows_another_to_a_draining_worker_waits_for_it(asked: Asked) -> None:
    await asked.world.register("w1")
    await asked.world.submit(spec("a"))
    await asked.place.settle()
    await asked.world.register("w2")
    await asked.world.submit(wanting("b", "a", requires=Requires(same_worker_as="a")))
    await asked.world.drain("w1")
    await asked.world.finish("a")
    await asked.place.settle()

    assert (await asked.why("b"))["worker-draining"]["workers"] == ["w1"]


async def test_the_slots_of_draining_workers_are_not_among_those_that_are_taken(asked: Asked) -> None:
    await asked.world.register("w1", slots=1)
    await asked.world.submit(spec("a"))
    await asked.place.settle()
    await asked.world.drain("w1")
    await asked.world.register("w2", slots=1)
    await asked.world.submit(spec("b"))
    await asked.place.settle()
    await asked.world.submit(spec("c"))
    await asked.place.settle()

    why = (await asked.why("c"))["no-slot"]

    assert (why["slots"], why["held"], why["draining"]) == (1, 1, ["w1"])
    assert why["holders"] in (["b"], [str(stream("b"))])


async def test_who_has_the_slots_is_named_to_those_who_may_see_it(asked: Asked) -> None:
    await asked.world.register("w1", slots=4)
    await asked.world.submit(*(spec(f"t{n}") for n in range(4)))
    await asked.place.settle()
    await asked.world.submit(spec("late"))
    await asked.place.settle()

    why = (await asked.why("late"))["no-slot"]

    assert (why["slots"], why["held"], len(why["holders"])) == (4, 4, 3)
    assert "+1" in why["detail"]
    assert await asked.codes("late") == ["no-slot"]


async def test_each_limit_is_told_with_who_has_its_places(asked: Asked) -> None:
    await asked.world.register("w1", slots=9)
    await asked.limit("namespace:default", 1)
    keyed = {"concurrency": Concurrency(key="db")}
    await asked.world.submit(wanting("a", **keyed))
    await asked.place.settle()
    await asked.world.submit(wanting("b", **keyed))
    await asked.place.settle()

    known = await asked.explaining.known(stream("b"), frozenset({"default"}))
    assert known is not None
    causes = explain(known).causes

    assert [(one.code, one.facts["scope"], one.facts["running"]) for one in causes] == [
        ("limit", "namespace:default", 1),
        ("limit", "key:default/db", 1),
    ]
    assert all(len(one.facts["holders"]) == 1 for one in causes)
    await asked.limit("namespace:default")
    assert [(await asked.why("b"))["limit"]["scope"]] == ["key:default/db"]
    await asked.world.finish("a")
    assert await asked.codes("b") == ["due"]


async def test_a_limit_of_nothing_holds_all_back_and_a_rate_says_when_it_goes_on(asked: Asked) -> None:
    await asked.world.register("w1", slots=9)
    await asked.limit("pool:default", 0)
    await asked.limit("namespace:default", rate=Rate(starts=1, per=timedelta(hours=1)))
    await asked.world.submit(spec("a"), spec("b"))
    await asked.place.settle()
    assert await asked.codes("a") == await asked.codes("b") == ["limit"]

    await asked.limit("pool:default")
    waits = "b" if isinstance(await asked.world.task("a"), Held) else "a"
    assert await asked.codes(waits) == ["rate"]
    assert (await asked.why(waits))["rate"]["until"].endswith("Z")


async def test_a_task_behind_others_is_told_how_many(asked: Asked) -> None:
    await asked.world.submit(spec("first", priority=10), spec("second", priority=9))
    await asked.world.submit(spec("last", priority=1))
    await asked.place.settle()
    await asked.world.register("w1", slots=2)
    await asked.noted("w1")

    assert [await asked.codes(name) for name in ("first", "second", "last")] == [["due"], ["due"], ["queue-order"]]
    assert (await asked.why("last"))["queue-order"]["ahead"] == 2


async def test_a_held_task_tells_of_its_worker_and_of_its_silence(asked: Asked) -> None:
    await asked.world.register("w1")
    await asked.world.submit(spec("a"))
    await asked.place.settle()
    assert await asked.codes("a") == ["offered"]

    await asked.world.start("a")
    assert await asked.codes("a") == ["running"]
    await asked.world.decide("a", Cancel("alice"))
    assert await asked.codes("a") == ["cancelling"]

    await asked.world.advance(15.5)
    assert await asked.codes("a") == ["cancelling", "worker-not-heard"]


async def test_a_paused_task_waits_for_that_alone(asked: Asked) -> None:
    await asked.world.submit(spec("a"))
    await asked.world.decide("a", Pause("bob"))
    await asked.place.settle()

    assert await asked.codes("a") == ["pause"]


async def test_a_chain_of_skipped_tasks_is_followed_to_its_root(asked: Asked) -> None:
    await asked.world.register("w1")
    await asked.world.submit_workflow(spec("a"), spec("b", "a"), spec("c", "b"), spec("d", "c"))
    await asked.place.settle()
    await asked.world.finish("a", exit_code=3)
    await asked.place.settle()

    why = (await asked.why("d"))["skipped"]

    assert why["chain"] == ["c skipped", "b skipped", "a failed (exit-nonzero)"]
    assert (why["root"], why["root_status"]) == ("a", "failed")


async def test_the_failure_for_which_a_workflow_fails_fast_is_the_reason(asked: Asked) -> None:
    await asked.world.register("w1")
    waits = wanting("b", requires=Requires(labels={"gpu": "a100"}))
    await asked.world.submit_workflow(spec("a"), waits, on_failure="fail-fast")
    await asked.place.settle()
    await asked.world.finish("a", exit_code=3)
    await asked.place.settle()

    assert (await asked.why("b"))["fail-fast"]["because"] == "a"


async def test_a_cancelled_workflow_is_the_reason_of_its_tasks(asked: Asked) -> None:
    await asked.world.submit_workflow(spec("a"), spec("b", "a"))
    await asked.world.cancel_workflow()
    await asked.place.settle()

    assert [await asked.codes(name) for name in ("a", "b")] == [["workflow-cancelled"]] * 2


async def test_a_task_crowded_out_names_its_key(asked: Asked) -> None:
    keyed = {"concurrency": Concurrency(key="k", when_full="cancel-newest")}
    await asked.world.submit(wanting("a", **keyed), wanting("b", **keyed))
    await asked.place.settle()
    newest = max("a", "b", key=stream)

    assert "key:default/k is limited to 1" in (await asked.why(newest))["crowded-out"]["detail"]


async def test_a_task_that_has_children_says_how_they_stand(asked: Asked) -> None:
    await asked.world.register("w1", slots=1)
    await asked.world.submit(fan_out("each", items={"count": 4}, parallel=1))
    await asked.place.settle()
    [first] = [f"each[{n}]" for n in range(4) if isinstance(await asked.world.task(f"each[{n}]"), Held)]
    await asked.world.finish(first, exit_code=1)
    await asked.place.settle()

    said = await asked.why("each")
    assert said["children"].items() >= {"children": 4, "submitted": 4, "running": 1, "ends": {"failed": 1}}.items()
    [waits] = [n for n in range(4) if not isinstance(await asked.world.task(f"each[{n}]"), Held | Ended)][:1]
    assert (await asked.why(f"each[{waits}]"))["limit"]["scope"] == f"children:{stream('each')}"

    await asked.world.decide("each", Cancel("alice", "enough"))
    assert (await asked.why("each"))["children-cancelling"]["by"] == "alice"
    await asked.place.settle()
    assert list(await asked.why(f"each[{waits}]")) == ["parent-cancelled"]
