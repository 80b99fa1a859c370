"""What the messenger is told of leases and beats, in memory and by PostgreSQL."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import pytest

from adapters.beat_store import PgBeatStore
from adapters.event_log import append_events, connect
from adapters.in_memory.event_log import MemoryLog, MemorySeat
from adapters.in_memory.messaging import Desk
from adapters.messenger_store import MessengerPgTurn
from adapters.pipeline import Connection
from adapters.seat import PgSeat
from domain import events as e
from domain.ids import derived_id
from domain.offering import Leased
from domain.ports.handling import Beat
from domain.ports.log import Seat
from domain.ports.messaging import UNTAKEN_BYTES, MessengerTurn, Untaken
from domain.recorded import NewEvent, new_events
from domain.reports import Heartbeat, HeldRun
from domain.specs import TaskSpec
from domain.syncing import LastBeat, Standing
from tests.support.database import Database
from tests.support.docks import soon
from tests.support.ended_tasks import CAUSE, TASK, TASK_2, Hands
from tests.support.messenger_place import CANCELLING, leased

RUN, RUN_2 = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7d01"), UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7d02")
FIRST = UUID(int=0)
REPORT, REPORT_2 = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7c01"), UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7c02")
SUBMITTED = e.TaskSubmitted(task_id="T1", spec=TaskSpec(executor="noop"))
WORKER = derived_id(UUID(int=0), "worker:w1")
REGISTERED = e.WorkerRegistered(
    worker_id="w1",
    generation=3,
    instance=RUN,
    engine="engine",
    pool="default",
    slots=4,
    executors=("noop",),
    version="1",
)


LATE = e.RunTimingOut(task_id="T1", run_id=RUN, fence=1, worker_id="w1", grace=timedelta(seconds=10))


class World(ABC):
    """The platform round the messenger: what handler, conductor and log keeper would have written."""

    @abstractmethod
    def seat(self) -> AbstractAsyncContextManager[Seat[MessengerTurn]]: ...

    @abstractmethod
    async def submit(self, task: UUID, *then: e.TaskEvent, first: e.TaskEvent = SUBMITTED) -> None: ...

    @abstractmethod
    async def lease(self, run: UUID, fence: int, task: UUID, worker: str) -> None: ...

    @abstractmethod
    async def register(self, worker: e.WorkerEvent, version: int) -> None: ...

    @abstractmethod
    async def beat(self, beat: Heartbeat) -> None: ...

    @abstractmethod
    async def commit_report(self, report: UUID, worker: str) -> None: ...

    @abstractmethod
    async def store_output(self, run: UUID, stdout: int, stderr: int, worker: str) -> None: ...


@dataclass
class MemoryWorld(World):
    log: MemoryLog = field(default_factory=lambda: MemoryLog(Hands()))
    desk: Desk = field(default_factory=Desk)

    @asynccontextmanager
    async def seat(self) -> AsyncGenerator[Seat[MessengerTurn]]:
        yield MemorySeat(self.log, "messenger", self.desk.turn)

    async def submit(self, task: UUID, *then: e.TaskEvent, first: e.TaskEvent = SUBMITTED) -> None:
        self.log.append(new_events(task, 0, "analytics", [first, *then], CAUSE))

    async def lease(self, run: UUID, fence: int, task: UUID, worker: str) -> None:
        self.desk.leases[run] = (fence, task, 3)
        standing = self.desk.standings.get(worker, Standing())
        self.desk.standings[worker] = replace(standing, leases={**standing.leases, run: fence})

    async def register(self, worker: e.WorkerEvent, version: int) -> None:
        standing = self.desk.standings.get(worker.worker_id, Standing())
        generation = standing.generation
        if isinstance(worker, e.WorkerRegistered | e.WorkerLost):
            generation = worker.generation if isinstance(worker, e.WorkerRegistered) else None
        self.desk.standings[worker.worker_id] = replace(standing, generation=generation)

    async def beat(self, beat: Heartbeat) -> None:
        self.desk.taken |= {run.run_id for run in beat.runs}
        self.desk.beats[beat.worker_id] = LastBeat(beat.worker_id, beat.generation, beat.beat, beat.runs, beat.reports)

    async def commit_report(self, report: UUID, worker: str) -> None:
        standing = self.desk.standings.get(worker, Standing())
        self.desk.standings[worker] = replace(standing, committed={*standing.committed, report})

    async def store_output(self, run: UUID, stdout: int, stderr: int, worker: str) -> None:
        standing = self.desk.standings.get(worker, Standing())
        self.desk.standings[worker] = replace(standing, logs_stored={run: stdout + stderr})


@dataclass
class PgWorld(World):
    dsn: str
    connection: Connection

    @asynccontextmanager
    async def seat(self) -> AsyncGenerator[Seat[MessengerTurn]]:
        async with PgSeat(self.dsn, "messenger", MessengerPgTurn, ("tally_log", "tally_beats")) as seat:
            yield seat

    async def _append(self, events: Sequence[NewEvent]) -> None:
        async with self.connection.transaction():
            await append_events(self.connection, events)

    async def submit(self, task: UUID, *then: e.TaskEvent, first: e.TaskEvent = SUBMITTED) -> None:
        await self._append(new_events(task, 0, "analytics", [first, *then], CAUSE))

    async def lease(self, run: UUID, fence: int, task: UUID, worker: str) -> None:
        await self.connection.execute(
            "INSERT INTO leases (run_id, fence, task, worker_id, generation, until) VALUES (%s, %s, %s, %s, 3, 12)",
            (run, fence, task, worker),
        )

    async def register(self, worker: e.WorkerEvent, version: int) -> None:
        await self._append([NewEvent(WORKER, version, "_", worker, CAUSE)])

    async def beat(self, beat: Heartbeat) -> None:
        await PgBeatStore(self.connection).record([Beat(beat)])

    async def commit_report(self, report: UUID, worker: str) -> None:
        await self.connection.execute(
            "INSERT INTO inbox (command_id, principal, digest, type, reply) VALUES (%s, %s, '', 'run.finish.v1', '')",
            (report, f"worker:{worker}"),
        )

    async def store_output(self, run: UUID, stdout: int, stderr: int, worker: str) -> None:
        for stream, size in (("stdout", stdout), ("stderr", stderr)):
            await self.connection.execute(
                "INSERT INTO log_ends (run_id, stream, namespace, stored) "
                "VALUES (%s, %s, 'analytics', int8multirange(int8range(0, %s)))",
                (run, stream, size),
            )


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def world(request: pytest.FixtureRequest) -> AsyncGenerator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    dsn = request.getfixturevalue("pg").app
    async with await connect(dsn, "test") as connection:
        yield PgWorld(dsn, connection)


async def test_the_open_ones_of_some_leases_are_found_with_their_generations(world: World) -> None:
    await world.submit(TASK)
    await world.lease(RUN, 2, TASK, "w1")

    async with world.seat() as seat, seat.turn() as turn:
        assert await turn.open([(RUN, 1), (RUN, 2), (RUN_2, 1)]) == {(RUN, 2): 3}


def given(run: UUID, fence: int = 1, filled: int | None = None) -> e.RunLeased:
    return leased(run, fence).model_copy(update={"filled": filled})


async def test_a_lease_that_no_beat_has_listed_is_found_with_what_its_task_runs(world: World) -> None:
    filled = e.TaskFilled(task_id="T1", input={"rows": 7, "none": None})
    await world.submit(TASK, given(RUN), given(RUN, 2))
    await world.submit(TASK_2, filled, given(RUN_2, 1, 2))
    await world.lease(RUN, 2, TASK, "w1")
    await world.lease(RUN_2, 1, TASK_2, "w1")

    async with world.seat() as seat, seat.turn() as turn:
        first, second = (await turn.untaken(timedelta(0), FIRST, 10)).leases
        few = await turn.untaken(timedelta(0), FIRST, 1)
        rest = await turn.untaken(timedelta(0), RUN, 10)

    assert first == Leased(TASK, "analytics", given(RUN, 2), SUBMITTED, SUBMITTED.work, first.cause)
    assert (first.cause.correlation_id, first.cause.actor) == (CAUSE.correlation_id, "messenger")
    assert (second.task, second.lease, second.work.input) == (TASK_2, given(RUN_2, 1, 2), {"rows": 7, "none": None})
    assert (few, rest) == (Untaken([first], more=True), Untaken([second]))


async def test_leases_are_found_page_by_page_where_the_templates_of_their_tasks_became_much(world: World) -> None:
    """Each three eighths of a page: the third is too large for what is left of it, and in it."""
    filled = e.TaskFilled(task_id="T1", input={"x": "x" * (UNTAKEN_BYTES * 3 // 8)})
    runs = sorted(derived_id(RUN, str(n)) for n in range(4))
    for run in runs:
        await world.submit(derived_id(TASK, str(run)), filled, given(run, 1, 2))
        await world.lease(run, 1, derived_id(TASK, str(run)), "w1")

    async with world.seat() as seat, seat.turn() as turn:
        pages = [await turn.untaken(timedelta(0), after, 10) for after in (FIRST, runs[0], runs[2])]

    found = [([one.lease.run_id for one in page.leases], page.more) for page in pages]
    assert found == [(runs[:3], True), (runs[1:], False), (runs[3:], False)]
    assert all(one.work.input == filled.input for page in pages for one in page.leases)


async def test_leases_are_found_page_by_page_where_much_was_submitted(world: World) -> None:
    large = SUBMITTED.model_copy(update={"spec": TaskSpec(executor="noop", input={"x": "x" * 65_000})})
    in_a_page = -(-UNTAKEN_BYTES // len(large.body()))
    runs = sorted(derived_id(RUN, str(n)) for n in range(in_a_page + 2))
    for run in runs:
        await world.submit(derived_id(TASK, str(run)), given(run), first=large)
        await world.lease(run, 1, derived_id(TASK, str(run)), "w1")

    async with world.seat() as seat, seat.turn() as turn:
        first = await turn.untaken(timedelta(0), FIRST, 100)
        rest = await turn.untaken(timedelta(0), first.leases[-1].lease.run_id, 100)

    assert ([one.lease.run_id for one in first.leases], first.more) == (runs[:in_a_page], True)
    assert ([one.lease.run_id for one in rest.leases], rest.more) == (runs[in_a_page:], False)


async def test_a_lease_of_a_task_that_fills_a_page_alone_is_found(world: World) -> None:
    for run, task in ((RUN, TASK), (RUN_2, TASK_2)):
        await world.submit(task, e.TaskFilled(task_id="T1", input={"x": "x" * UNTAKEN_BYTES}), given(run, 1, 2))
        await world.lease(run, 1, task, "w1")

    async with world.seat() as seat, seat.turn() as turn:
        page = await turn.untaken(timedelta(0), FIRST, 10)

    assert ([one.task for one in page.leases], page.more) == ([TASK], True)


async def test_a_lease_that_is_young_or_that_a_beat_has_listed_is_not_untaken(world: World) -> None:
    await world.submit(TASK, given(RUN))
    await world.submit(TASK_2, given(RUN_2))
    await world.lease(RUN, 1, TASK, "w1")
    await world.lease(RUN_2, 1, TASK_2, "w1")
    held = HeldRun(run_id=RUN, fence=1, state="pulling")
    await world.beat(Heartbeat(worker_id="w1", generation=3, beat=813, runs=(held,)))

    async with world.seat() as seat, seat.turn() as turn:
        assert await turn.untaken(timedelta(minutes=5), FIRST, 10) == Untaken([])
        assert [one.task for one in (await turn.untaken(timedelta(0), FIRST, 10)).leases] == [TASK_2]


STARTED = e.RunStarted(task_id="T1", run_id=RUN, run=1, fence=1, worker_id="w1")


FAILED = e.RunFailed(task_id="T1", run_id=RUN, run=1, fence=1, reason="image-not-found")
LOST = e.RunLost(task_id="T1", run_id=RUN, run=1, fence=1, certain=True)
DONE = e.RunSucceeded(task_id="T1", run_id=RUN, run=1, fence=1)


@pytest.mark.parametrize("then", [STARTED, CANCELLING, LATE, FAILED, LOST, DONE], ids=lambda event: event.TYPE)
async def test_a_run_that_has_started_or_ended_or_is_to_end_is_not_untaken(world: World, then: e.TaskEvent) -> None:
    await world.submit(TASK, given(RUN), then)
    await world.submit(TASK_2, given(RUN_2), e.TaskPriorityChanged(task_id="T1", priority=9, was=5))
    await world.lease(RUN, 1, TASK, "w1")
    await world.lease(RUN_2, 1, TASK_2, "w1")

    async with world.seat() as seat, seat.turn() as turn:
        assert [one.task for one in (await turn.untaken(timedelta(0), FIRST, 10)).leases] == [TASK_2]


async def test_the_last_order_to_end_an_open_lease_is_found_and_no_other(world: World) -> None:
    late, cancelling = LATE, e.TaskCancelling(**LATE.model_dump(), by="alice")
    old = late.model_copy(update={"run_id": RUN_2})
    await world.submit(TASK, late, cancelling)
    await world.submit(TASK_2, old)
    await world.lease(RUN, 1, TASK, "w1")
    await world.lease(RUN_2, 2, TASK_2, "w1")

    async with world.seat() as seat, seat.turn() as turn:
        found = await turn.stopping([(RUN, 1), (RUN_2, 2), (RUN_2, 1)])
        none = await turn.stopping([(RUN, 2)])

    assert [(recorded.stream, recorded.version, recorded.event()) for recorded in found] == [(TASK, 3, cancelling)]
    assert found[0].cause == CAUSE
    assert none == []


async def test_a_beat_comes_with_all_that_is_known_of_its_worker(world: World) -> None:
    await world.submit(TASK)
    await world.lease(RUN, 2, TASK, "w1")
    await world.register(REGISTERED, 1)
    await world.commit_report(REPORT, "w1")
    await world.store_output(RUN_2, 5000, 120, "w1")
    runs = (HeldRun(run_id=RUN, fence=2, state="running"), HeldRun(run_id=RUN_2, fence=1, state="finished"))

    await world.beat(Heartbeat(worker_id="w1", generation=3, beat=812, runs=runs, reports=(REPORT, REPORT_2)))

    async with world.seat() as seat, seat.turn() as turn:
        assert await turn.unanswered(10) == [
            (LastBeat("w1", 3, 812, runs, (REPORT, REPORT_2)), Standing(3, {RUN: 2}, {REPORT}, {RUN_2: 5120}))
        ]


async def test_a_lost_worker_and_a_strange_one_have_no_generation(world: World) -> None:
    await world.register(REGISTERED, 1)
    await world.register(e.WorkerLost(worker_id="w1", generation=3), 2)
    await world.beat(Heartbeat(worker_id="w1", generation=3, beat=1))
    await world.beat(Heartbeat(worker_id="w2", generation=1, beat=1))

    async with world.seat() as seat, seat.turn() as turn:
        found = await turn.unanswered(10)

    assert [(beat.worker_id, standing.generation) for beat, standing in found] == [("w1", None), ("w2", None)]


async def test_a_draining_worker_keeps_its_generation(world: World) -> None:
    await world.register(REGISTERED, 1)
    await world.register(e.WorkerDraining(worker_id="w1", by="alice"), 2)
    await world.beat(Heartbeat(worker_id="w1", generation=3, beat=1))

    async with world.seat() as seat, seat.turn() as turn:
        [(_, standing)] = await turn.unanswered(10)

    assert standing.generation == 3


async def test_an_answer_covers_its_beat_and_no_later_one(world: World) -> None:
    await world.beat(Heartbeat(worker_id="w1", generation=3, beat=1))
    async with world.seat() as seat:
        async with seat.turn() as turn:
            ((beat, _),) = await turn.unanswered(10)
            await turn.answered([beat])
        async with seat.turn() as turn:
            assert await turn.unanswered(10) == []

        await world.beat(Heartbeat(worker_id="w1", generation=3, beat=2))

        async with seat.turn() as turn:
            assert [beat.beat for beat, _ in await turn.unanswered(10)] == [2]


async def test_a_new_generation_is_answered_from_its_first_beat_on(world: World) -> None:
    await world.beat(Heartbeat(worker_id="w1", generation=3, beat=100))
    async with world.seat() as seat:
        async with seat.turn() as turn:
            await turn.answered([beat for beat, _ in await turn.unanswered(10)])

        await world.beat(Heartbeat(worker_id="w1", generation=4, beat=1))

        async with seat.turn() as turn:
            assert [(beat.generation, beat.beat) for beat, _ in await turn.unanswered(10)] == [(4, 1)]


async def test_an_answer_that_is_not_committed_is_given_again(world: World) -> None:
    await world.beat(Heartbeat(worker_id="w1", generation=3, beat=1))
    async with world.seat() as seat:
        with suppress(ConnectionError):
            async with seat.turn() as turn:
                await turn.answered([beat for beat, _ in await turn.unanswered(10)])
                raise ConnectionError

        async with seat.turn() as turn:
            assert len(await turn.unanswered(10)) == 1


@pytest.mark.integration
async def test_beats_are_locked_in_the_order_of_the_beat_store(pg: Database) -> None:
    """Answering B and a while somebody holds B, which comes first in bytes: `a` is not locked meanwhile."""
    async with await connect(pg.app, "test") as connection:
        world = PgWorld(pg.app, connection)
        for worker in ("a", "B"):
            await world.beat(Heartbeat(worker_id=worker, generation=1, beat=1))
        async with world.seat() as seat, asyncio.TaskGroup() as tasks, connection.transaction():
            await connection.execute("SELECT FROM worker_beats WHERE worker_id = 'B' FOR UPDATE")
            tasks.create_task(answer_all(seat))
            await soon(lambda: waits(connection))
            await connection.execute("SELECT FROM worker_beats WHERE worker_id = 'a' FOR UPDATE NOWAIT")


async def answer_all(seat: Seat[MessengerTurn]) -> None:
    async with seat.turn() as turn:
        await turn.answered([beat for beat, _ in await turn.unanswered(10)])


async def waits(connection: Connection) -> bool:
    """Whether any session waits for one that `connection` blocks."""
    blocked = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
    row = await (await connection.execute(blocked)).fetchone()
    return row is not None and bool(row[0])
