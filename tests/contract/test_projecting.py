"""What every keeper of views promises: to the projector, and to a rebuild."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest

from adapters.event_log import append_events, connect
from adapters.in_memory.event_log import MemoryLog, MemorySeat
from adapters.in_memory.views import MemoryRebuild, MemoryViews
from adapters.rebuild import open_rebuild
from adapters.seat import PgSeat
from adapters.views import ProjectorPgTurn
from consumers.projector import Project
from consumers.rebuilding import rebuild
from domain import events as e
from domain.ids import derived_id
from domain.limit import limit_stream
from domain.placing import Rate
from domain.ports.log import PAGE_BYTES, Seat
from domain.ports.projecting import ProjectorTurn
from domain.ports.rebuilding import Rebuild
from domain.recorded import NewEvent, new_events
from domain.schedule import fire_stream
from domain.specs import Container, TaskSpec
from domain.submitting import submit_task
from domain.task_type import Types, type_stream
from domain.task_view import TaskView
from domain.type_specs import Definition
from domain.views import VIEWS, Rows
from tests.support.ended_tasks import Hands
from tests.support.histories import (
    CAUSE,
    TASK,
    TASK_2,
    TASK_3,
    WORKER,
    WORKFLOW,
    folded,
    registered,
    run_id,
    started,
    whole,
)
from tests.support.schedules import HOUR, NOMINAL, S1, scheduled


@dataclass(frozen=True, slots=True)
class Place:
    """A projector's seat, a way into its log, and rebuilds of its views."""

    seat: Seat[ProjectorTurn]
    append: Callable[[Sequence[NewEvent]], Awaitable[None]]
    rebuild: Callable[[Sequence[str]], AbstractAsyncContextManager[Rebuild]]

    async def project(self) -> None:
        step = Project(self.seat)
        while (page := await self.seat.page(1000)).events:
            await step(page)

    async def live(self) -> dict[str, Rows]:
        """The rows of everything in MIXED."""
        async with self.seat.turn() as turn:
            return await turn.rows({view: list(rows) for view, rows in EXPECTED_IDS.items()})


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def place(request: pytest.FixtureRequest) -> AsyncGenerator[Place]:
    if request.param == "memory":
        log, views = MemoryLog(Hands()), MemoryViews()

        async def add(events: Sequence[NewEvent]) -> None:
            log.append(events)

        @asynccontextmanager
        async def anew(names: Sequence[str]) -> AsyncGenerator[MemoryRebuild]:
            yield MemoryRebuild(log, views, names)

        yield Place(MemorySeat(log, "projector", views.turn), add, anew)
        return
    dsn = request.getfixturevalue("pg").app

    async def append(events: Sequence[NewEvent]) -> None:
        async with await connect(dsn, "test") as connection, connection.transaction():
            await append_events(connection, events)

    async with PgSeat(dsn, "projector", ProjectorPgTurn) as seat:
        yield Place(seat, append, lambda names: open_rebuild(dsn, names))


GRAPH = e.WorkflowSubmitted(workflow_id="F1", tasks=(e.Node(task_id="a", stream=TASK_2),))
LIMIT = limit_stream("namespace:default")
LIMITS: list[e.Event] = [
    e.LimitChanged(scope="namespace:default", max_running=5, by="alice"),
    e.LimitChanged(scope="namespace:default", rate=Rate(starts=9, per=timedelta(seconds=90)), by="bob"),
]
TYPE = type_stream("default", "bake")
TYPED: list[e.Event] = [
    e.TaskTypeChanged(task_type="bake", number=1, definition=Definition(image="busybox"), by="alice"),
    e.TaskTypeRemoved(task_type="bake", number=1, by="bob"),
    e.TaskTypeChanged(task_type="bake", number=2, definition=Definition(image="busybox:2"), by="bob"),
]
MIXED: list[NewEvent] = [
    *whole(TASK),
    *new_events(WORKFLOW, 0, "default", [GRAPH], CAUSE),
    *whole(TASK_2)[:4],
    *new_events(WORKER, 0, "_", [registered(), e.WorkerDraining(worker_id="W1", by="alice", reason="disk")], CAUSE),
    *scheduled(),
    *new_events(LIMIT, 0, "default", LIMITS, CAUSE),
    *new_events(TYPE, 0, "default", TYPED, CAUSE),
]
EXPECTED_IDS = {
    "tasks": [TASK, TASK_2, TASK_3],
    "runs": [run_id(1, TASK), run_id(1, TASK_2), run_id(1, TASK_3)],
    "workflows": [WORKFLOW],
    "workers": [WORKER],
    "schedules": [S1],
    "fires": [fire_stream(S1, NOMINAL), fire_stream(S1, NOMINAL + HOUR)],
    "limits": [LIMIT],
    "task_types": [TYPE],
}


async def test_the_rows_are_the_fold_of_the_log(place: Place) -> None:
    await place.append(MIXED)
    stored = (await place.seat.page(1000)).events
    await place.project()

    assert await place.live() == {view: folded(view, stored) for view in VIEWS}


async def test_pages_of_any_size_give_the_same_rows(place: Place) -> None:
    await place.append(MIXED)
    stored = (await place.seat.page(1000)).events
    step = Project(place.seat)
    for _ in stored:
        await step(await place.seat.page(1))

    assert await place.live() == {view: folded(view, stored) for view in VIEWS}
    assert (await place.seat.page(1)).events == []


async def test_rows_and_position_move_together_or_not_at_all(place: Place) -> None:
    await place.append(MIXED)
    page = await place.seat.page(1000)

    async def fails_late() -> None:
        async with place.seat.turn(page.up_to) as turn:
            await turn.store({"tasks": folded("tasks", page.events)})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails_late()
    assert (await place.seat.page(1000)).events == page.events
    assert (await place.live())["tasks"] == {}


async def test_a_row_that_is_stored_is_not_replaced_by_an_older_one(place: Place) -> None:
    await place.append(whole(TASK))
    stored = (await place.seat.page(1000)).events
    await place.project()

    async with place.seat.turn() as turn:
        await turn.store({"tasks": folded("tasks", stored[:2])})

    assert (await place.live())["tasks"] == folded("tasks", stored)


async def test_a_rebuild_gives_equal_rows(place: Place) -> None:
    await place.append(MIXED)
    await place.project()
    before = await place.live()

    async with place.rebuild(list(VIEWS)) as target:
        done = await rebuild(target)

    assert (done.position, done.events) == (len(MIXED), len(MIXED))
    assert done.differing == {view: frozenset() for view in VIEWS}
    assert await place.live() == before


async def test_a_rebuild_names_the_rows_that_were_wrong_and_rights_them(place: Place) -> None:
    await place.append(MIXED)
    await place.project()
    right = await place.live()
    async with place.seat.turn() as turn:
        task = right["tasks"][TASK]
        assert isinstance(task, TaskView)
        wrong = task._replace(status="lost-in-a-defect", position=7)
        await turn.store({"tasks": {TASK: wrong}})

    async with place.rebuild(["tasks"]) as target:
        done = await rebuild(target)

    assert done.differing == {"tasks": frozenset({TASK})}
    assert await place.live() == right


async def test_the_projector_goes_on_from_rebuilt_rows(place: Place) -> None:
    await place.append(MIXED)
    await place.project()
    async with place.rebuild(list(VIEWS)) as target:
        await rebuild(target)

    await place.append(whole(TASK_3))
    await place.append(new_events(TASK_2, 4, "default", [e.TaskFailed(task_id="T1", reason="lost", runs=1)], CAUSE))
    await place.project()

    rows = await place.live()
    assert [rows["tasks"][task].version for task in (TASK, TASK_2, TASK_3)] == [6, 5, 6]


async def test_a_rebuild_may_be_ahead_of_the_projector(place: Place) -> None:
    await place.append(whole(TASK))
    await place.project()
    await place.append(MIXED[6:])

    async with place.rebuild(["runs", "tasks"]) as target:
        done = await rebuild(target)
    assert done.differing == {"runs": frozenset(), "tasks": frozenset()}
    await place.project()

    assert started(task=TASK_2).run_id in (await place.live())["runs"]
    assert (await place.live())["tasks"][TASK_2].version == 4


async def test_large_tasks_are_projected_and_rebuilt_a_few_megabytes_at_a_time_and_misses_none(place: Place) -> None:
    large = TaskSpec(container=Container(image="busybox", command=("x" * 60_000,) * 4))
    tasks = [derived_id(TASK, f"{n}") for n in range(150)]
    for task in tasks:
        await place.append(new_events(task, 0, "default", submit_task(large, task, {}, Types("image")), CAUSE))
    projected = await place.seat.page(1000)
    await place.project()

    async with place.rebuild(list(VIEWS)) as target:
        rebuilt = await target.page(0, 1000)
        done = await rebuild(target)

    for first in (projected, rebuilt):
        said = [len(event.body) for event in first.events]
        assert sum(said[:-1]) < PAGE_BYTES <= sum(said)
        assert (first.up_to, first.full(1000)) == (first.events[-1].position, True)
    assert (done.events, done.differing["tasks"]) == (300, frozenset())
