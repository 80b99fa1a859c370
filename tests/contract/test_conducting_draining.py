"""A drained worker is given nothing until it is started, on every store of the conductor's rows."""

import json

import pytest

from adapters.event_log import connect
from adapters.queries import PgQueries, open_queries
from consumers.conductor import PAGE
from consumers.noting import TYPES
from domain.placing import Requires
from domain.task_states import Ended, Held, Leased, Queued
from domain.worker import worker_stream
from tests.support.conducting import PgWorld, conductor, settle, spec
from tests.support.conducting_place import Place, place
from tests.support.database import Database

__all__ = ["place"]


async def where(place: Place, *names: str) -> list[str | None]:
    """The worker that has each task."""
    states = [await place.world.task(name) for name in names]
    return [state.lease.worker_id if isinstance(state, Held) else None for state in states]


async def test_a_drained_worker_is_given_nothing_more_and_what_it_runs_goes_on(place: Place) -> None:
    await place.world.register("w1", slots=4)
    await place.world.submit(spec("runs"))
    await place.settle()
    await place.world.start("runs")

    await place.world.drain("w1")
    await place.world.submit(spec("waits"))
    await place.settle()

    assert await where(place, "runs", "waits") == ["w1", None]
    await place.world.finish("runs")
    await place.settle()
    assert isinstance(await place.world.task("runs"), Ended)
    assert isinstance(await place.world.task("waits"), Queued)


async def test_a_worker_that_is_drained_in_the_page_that_brings_a_task_is_not_given_it(place: Place) -> None:
    await place.world.register("w1", slots=4)
    await place.world.submit(spec("a"))
    await place.world.drain("w1")

    await place.settle()

    assert await where(place, "a") == [None]


async def test_a_started_worker_is_given_tasks_at_once(place: Place) -> None:
    await place.world.register("w1")
    await place.world.drain("w1")
    await place.world.submit(spec("a"))
    await place.settle()

    await place.world.start_worker("w1")
    await place.conducting.step(await place.conducting.seat.page(PAGE, TYPES))

    assert await where(place, "a") == ["w1"]


async def test_tasks_go_to_the_other_workers_of_the_pool(place: Place) -> None:
    await place.world.register("w1", slots=9)
    await place.world.register("w2", slots=2)
    await place.world.drain("w1")
    await place.world.submit(spec("a"), spec("b"), spec("c"))

    await place.settle()

    assert sorted(await where(place, "a", "b", "c"), key=str) == [None, "w2", "w2"]


async def test_a_worker_that_registers_again_is_drained_still(place: Place) -> None:
    await place.world.register("w1")
    await place.world.drain("w1")
    await place.settle()

    await place.world.register("w1", instance=2)
    await place.world.submit(spec("a"))
    await place.settle()
    assert await where(place, "a") == [None]

    await place.world.start_worker("w1")
    await place.settle()
    assert await where(place, "a") == ["w1"]


async def test_rows_made_anew_from_the_whole_log_know_who_is_drained(place: Place) -> None:
    for worker_id in ("w1", "w2", "w3"):
        await place.world.register(worker_id, slots=1)
        await place.world.drain(worker_id)
    await place.world.start_worker("w2")
    await place.world.register("w1", instance=2, slots=1)
    await place.settle()

    await place.world.forget()
    if isinstance(place.world, PgWorld):
        vars(place.conducting.seat)["_position"] = 0
    await place.world.submit(spec("a"), spec("b"))
    await place.settle()

    assert sorted(await where(place, "a", "b"), key=str) == [None, "w2"]


async def test_a_draining_worker_that_falls_silent_is_lost_as_any_other(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a"))
    await place.settle()
    await place.world.start("a")
    await place.world.drain("w1")
    await place.world.register("w2")
    await place.settle()

    await place.world.advance(20.0)
    await place.world.beat("w2", beat=2)
    await settle(conductor(place.conducting.seat))

    assert await where(place, "a") == ["w2"]
    rows = (await place.world.load([worker_stream("w1")]))[worker_stream("w1")]
    assert [row.type for row in rows] == ["worker.registered.v1", "worker.draining.v1", "worker.lost.v1"]


async def test_an_offer_that_a_drained_worker_never_took_is_made_to_another(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("a"))
    await place.settle()
    await place.world.drain("w1")
    await place.settle()

    await place.world.advance(13.0)
    await place.world.beat("w1", beat=2)
    await settle(conductor(place.conducting.seat))
    assert isinstance(await place.world.task("a"), Queued)

    await place.world.register("w2")
    await place.settle()
    assert await where(place, "a") == ["w2"]


async def test_a_task_that_follows_another_to_a_drained_worker_waits_for_it(place: Place) -> None:
    await place.world.register("w1")
    await place.world.submit(spec("first"))
    await place.settle()
    await place.world.register("w2")
    follows = spec("then", "first").model_copy(update={"requires": Requires(same_worker_as="first")})
    await place.world.submit(follows)
    await place.world.drain("w1")
    await place.world.finish("first")
    await place.settle()
    assert isinstance(await place.world.task("then"), Queued)

    await place.world.start_worker("w1")
    await place.settle()

    state = await place.world.task("then")
    assert isinstance(state, Leased)
    assert state.lease.worker_id == "w1"


@pytest.mark.integration
async def test_a_worker_is_drained_once_the_dispatcher_knows_it_and_it_holds_nothing(pg: Database) -> None:
    async with await connect(pg.app, "test") as connection, open_queries(pg.read, 1) as queries:
        world = PgWorld(pg.app, connection)
        async with world.seat() as seat:
            place = Place(world, conductor(seat))
            await world.register("w1")
            await show(world)
            assert not await drained(queries)
            await world.submit(spec("a"))
            await place.settle()

            await world.drain("w1")
            await world.finish("a")
            assert not await drained(queries), "the dispatcher may still give it something"
            await place.settle()
            assert await drained(queries)

            await world.start_worker("w1")
            assert not await drained(queries)
            await world.submit(spec("b"))
            await place.settle()
            await world.drain("w1")
            await place.settle()
            assert not await drained(queries), "it holds a run"

            await world.finish("b")
            assert await drained(queries)


async def show(world: PgWorld) -> None:
    """As the projector does, once: that the row is behind is no matter here."""
    await world.connection.execute(
        "INSERT INTO workers (id, worker_id, generation, instance, engine, pool, slots, executors, labels, software, "
        "status, registered_at, updated_at, version, position) VALUES "
        "(%s, 'w1', 1, %s, 'e', 'default', 4, '[]', '{}', '1', 'live', now(), now(), 1, 1)",
        (worker_stream("w1"), worker_stream("instance")),
    )


async def drained(queries: PgQueries) -> bool:
    found = await queries.worker("w1", None)
    assert found is not None
    return bool(json.loads(found.body)["drained"])
