"""A log and the conductor's rows, with hands that play the parts of clients, handler and workers."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

from adapters.conductor_store import ConductorPgTurn
from adapters.event_log import LOAD, append_events, by_stream, event_columns
from adapters.in_memory.conducting import ConductorMemoryTurn
from adapters.in_memory.conductor_rows import NEVER, LastBeat, Rows
from adapters.in_memory.event_log import MemoryLog, MemorySeat
from adapters.in_memory.traces import NoTraces
from adapters.pipeline import Connection
from adapters.seat import PgSeat
from consumers.conductor import PAGE, Conductor
from consumers.noting import TYPES
from consumers.offering import Offers
from consumers.timekeeper import Probes
from domain import events as e
from domain import task as deciding
from domain import worker, workflow
from domain.dependencies import named
from domain.folding import task_of, worker_of, workflow_of
from domain.forwarding import forwards, with_deadlines
from domain.ids import child_of, child_stream, derived_id
from domain.messages import Cause, Json, is_uuid
from domain.operating import ChangeWorker, StartWorker, StopWorker
from domain.ports.broker import Outgoing, Publisher
from domain.ports.conducting import ConductorTurn
from domain.ports.log import Seat
from domain.recorded import NewEvent, Recorded, new_events
from domain.reports import RegisterWorker, RunFinish, RunStart
from domain.retry_spec import Retry
from domain.specs import AtLeast, DependsOn, OnFailure, TaskSpec
from domain.submitting import Whole, submit_task, submit_workflow
from domain.task_states import Held, Task
from domain.task_type import Types
from domain.worker import worker_stream
from tests.support.ended_tasks import NOW, Hands

EPOCH = UUID("0193f2a1-5c7e-7000-8000-000000000000")
WORKFLOW = derived_id(EPOCH, "workflow")
CAUSE = Cause("chain", "command", "alice")


def stream(name: str) -> UUID:
    """The stream of the task that the tests call `name`."""
    if child := child_of(name):
        return child_stream(stream(child[0]), child[1])
    return is_uuid(name) or derived_id(EPOCH, name)


def spec(
    name: str,
    *needs: str | DependsOn | AtLeast,
    priority: int = 5,
    run: timedelta = timedelta(hours=1),
    retry: Retry | None = None,
    input: dict[str, Json] | None = None,
) -> TaskSpec:
    """A task of executor noop that needs `needs`."""
    return TaskSpec.model_validate(
        {
            "task_id": name,
            "executor": "noop",
            "depends_on": [DependsOn(task_id=need) if isinstance(need, str) else need for need in needs],
            "priority": priority,
            "timeouts": {"run": run},
            "retry": retry,
            "input": input,
        }
    )


def fan_out(
    name: str,
    *needs: str | DependsOn | AtLeast,
    items: Json = "{{tasks.a.result.items}}",
    parallel: int | None = None,
    **more: Json,
) -> TaskSpec:
    """A task with a child of executor noop for each of `items`, whose input tells the item, and has `more` in it."""
    child = {"executor": "noop", "input": {"item": "{{item}}", "index": "{{index}}", **more}}
    for_each = {"items": items, "task": child, "max_parallel": parallel}
    depends_on = [DependsOn(task_id=need) if isinstance(need, str) else need for need in needs]
    return TaskSpec.model_validate({"task_id": name, "depends_on": depends_on, "for_each": for_each})


class World(ABC):
    """What the conductor lives in. Times are seconds from the beginning."""

    @abstractmethod
    def seat(self) -> AbstractAsyncContextManager[Seat[ConductorTurn]]: ...

    @abstractmethod
    async def append(self, events: Sequence[NewEvent]) -> None: ...

    @abstractmethod
    async def now(self) -> datetime:
        """The conductor's clock."""

    @abstractmethod
    async def append_at(self, event: NewEvent, at: datetime) -> None:
        """Have recorded it then."""

    @abstractmethod
    async def forget_schedules(self) -> None:
        """The rows forget what they know of fires, as those of a rebuild that has not got to them."""

    @abstractmethod
    async def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]: ...

    @abstractmethod
    async def beat(self, worker_id: str, generation: int = 1, beat: int = 1) -> None:
        """The worker is heard now."""

    @abstractmethod
    def wait(self) -> None:
        """Let a moment pass."""

    @abstractmethod
    async def advance(self, seconds: float) -> None:
        """Move the lease clock on."""

    @abstractmethod
    async def answer(self) -> None:
        """The last probe comes back."""

    @abstractmethod
    async def accept(self, run_id: UUID) -> None:
        """A beat lists the run."""

    @abstractmethod
    async def close(self, run_id: UUID) -> None:
        """The lease ends with a report."""

    @abstractmethod
    async def forget(self) -> None:
        """The conductor's rows are gone, but for leases and beats, and its position is at the beginning."""

    @abstractmethod
    async def leases(self) -> Counter[str]:
        """Open leases of each worker."""

    @abstractmethod
    async def left_over(self) -> int:
        """Rows that still wait for something."""

    @abstractmethod
    async def kept(self) -> set[bytes]:
        """The keys of the results that are kept."""

    async def register(
        self, worker_id: str, slots: int = 4, pool: str = "default", instance: int = 1, **labels: str
    ) -> None:
        """A worker comes up, and beats."""
        own = worker_stream(worker_id)
        rows = (await self.load([own])).get(own, [])
        command = RegisterWorker(
            worker_id=worker_id, instance=UUID(int=instance), engine="e", pool=pool, slots=slots, labels=labels
        )
        state = worker_of(rows)
        await self.append(new_events(own, len(rows), "", worker.register(state, command, alive=False), CAUSE))
        await self.beat(worker_id, state.registered.generation + 1 if state else 1)

    async def drain(self, worker_id: str) -> None:
        await self._change_worker(StopWorker(worker_id=worker_id))

    async def start_worker(self, worker_id: str) -> None:
        await self._change_worker(StartWorker(worker_id=worker_id))

    async def _change_worker(self, command: ChangeWorker) -> None:
        own = worker_stream(command.worker_id)
        rows = (await self.load([own]))[own]
        state = worker_of(rows)
        assert state is not None
        await self.append(new_events(own, len(rows), "_", worker.change(state, command, "alice"), CAUSE))

    async def submit(self, *specs: TaskSpec, now: datetime = NOW) -> None:
        """Tasks each on its own."""
        for one in specs:
            upstream = {name: stream(name) for name in named(one.depends_on)}
            there = await self.load(list(upstream.values()))
            to_come = [name for name, span in forwards([one]).items() if span and upstream[name] not in there]
            own = stream(one.task_id or "")
            events = with_deadlines(submit_task(one, own, upstream, Types("image")), to_come, now)
            await self.append(new_events(own, 0, "default", events, CAUSE))

    async def submit_workflow(
        self,
        *specs: TaskSpec,
        upstream: Sequence[str] = (),
        on_failure: OnFailure = "skip-downstream",
        max_parallel: int | None = None,
        more: bool = False,
    ) -> None:
        """A workflow, or further tasks of it."""
        tasks = [(one, stream(one.task_id or "")) for one in specs]
        outer = {name: stream(name) for name in upstream}
        whole = Whole("W", WORKFLOW, on_failure, max_parallel)
        submitted, first = submit_workflow(whole, tasks, outer, Types("image"))
        changes: Sequence[e.WorkflowEvent] = [submitted.model_copy(update={"open": more or None})]
        if rows := (await self.load([WORKFLOW])).get(WORKFLOW, []):
            changes = workflow.decide(workflow_of(rows), workflow.Extend(submitted.tasks, more))
        new = new_events(WORKFLOW, len(rows), "default", changes, CAUSE)
        for own, events in first.items():
            new += new_events(own, 0, "default", events, CAUSE)
        await self.append(new)

    async def cancel_workflow(self) -> None:
        rows = (await self.load([WORKFLOW]))[WORKFLOW]
        events = workflow.decide(workflow_of(rows), workflow.Cancel("alice", "no longer needed"))
        await self.append(new_events(WORKFLOW, len(rows), "default", events, CAUSE))

    async def task(self, name: str) -> Task:
        own = stream(name)
        return task_of((await self.load([own]))[own])

    async def types(self, name: str) -> list[str]:
        """The task's history: the middle part of each event's type."""
        own = stream(name)
        return [row.type.split(".")[1] for row in (await self.load([own]))[own]]

    async def events(self, name: str) -> list[e.Event]:
        """The task's history."""
        return [row.event() for row in (await self.load([stream(name)]))[stream(name)]]

    async def decide(self, name: str, command: deciding.Decision, now: datetime = NOW) -> None:
        own = stream(name)
        rows = (await self.load([own]))[own]
        events = deciding.decide(task_of(rows), command, now)
        await self.append(new_events(own, len(rows), "default", events, CAUSE))

    async def start(self, name: str) -> None:
        """The worker that holds the task starts it."""
        state = await self.task(name)
        assert isinstance(state, Held)
        run = state.lease
        await self.accept(run.run_id)
        await self.decide(name, RunStart(task_id=state.id, run_id=run.run_id, fence=run.fence, container_id="c"))

    async def finish(self, name: str, exit_code: int = 0, now: datetime = NOW, result: Json = None) -> None:
        """The worker that holds the task ends it."""
        state = await self.task(name)
        assert isinstance(state, Held)
        run = state.lease
        finish = RunFinish(task_id=state.id, run_id=run.run_id, fence=run.fence, container_id="c", exit_code=exit_code)
        finish = finish.model_copy(update={"result": result})
        await self.close(run.run_id)
        await self.decide(name, finish, now)


@dataclass(slots=True)
class MemoryWorld(World):
    hands: Hands = field(default_factory=Hands)
    rows: Rows = field(default_factory=Rows)
    log: MemoryLog = field(init=False)

    def __post_init__(self) -> None:
        self.log = MemoryLog(self.hands)

    def turn(self, log: MemoryLog, name: str, now: datetime) -> ConductorMemoryTurn:
        return ConductorMemoryTurn(self.rows, log, name, now)

    @asynccontextmanager
    async def seat(self) -> AsyncGenerator[Seat[ConductorTurn]]:
        yield MemorySeat(self.log, "conductor", self.turn)

    async def now(self) -> datetime:
        return self.hands.now()

    async def append_at(self, event: NewEvent, at: datetime) -> None:
        now, self.hands.time = self.hands.time, at
        await self.append([event])
        self.hands.time = now

    async def forget_schedules(self) -> None:
        self.rows.schedules = {one: (NEVER, self.hands.now()) for one in self.rows.schedules}

    async def append(self, events: Sequence[NewEvent]) -> None:
        assert not self.log.append(events).moved

    async def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        return self.log.load(streams)

    async def beat(self, worker_id: str, generation: int = 1, beat: int = 1) -> None:
        self.rows.beats[worker_id] = LastBeat(generation, beat, self.hands.now(), self.rows.clock.seconds)

    def wait(self) -> None:
        self.hands.move(timedelta(milliseconds=1))

    async def advance(self, seconds: float) -> None:
        clock = self.rows.clock
        self.rows.clock = type(clock)(
            clock.seconds + seconds, self.hands.now(), clock.probe, clock.sent_at, clock.answered, clock.answered_at
        )

    async def answer(self) -> None:
        clock = self.rows.clock
        self.rows.clock = type(clock)(
            clock.seconds, clock.advanced_at, clock.probe, clock.sent_at, clock.probe, self.hands.now()
        )

    async def accept(self, run_id: UUID) -> None:
        lease, _ = self.rows.leases[run_id]
        self.rows.leases[run_id] = (lease, True)

    async def close(self, run_id: UUID) -> None:
        self.rows.leases.pop(run_id, None)

    async def forget(self) -> None:
        self.rows = Rows(clock=self.rows.clock, beats=self.rows.beats, leases=self.rows.leases)
        self.log.seats["conductor"] = (self.log.seats["conductor"][0], 0)

    async def leases(self) -> Counter[str]:
        return Counter(lease.worker_id for lease, _ in self.rows.leases.values())

    async def left_over(self) -> int:
        rows = self.rows
        waiting = len(rows.queue) + len(rows.needs) + len(rows.edges) + len(rows.settled) + len(rows.timers)
        workflows = len(rows.members) + len(rows.last) + len(rows.fail_fast) + len(rows.open) + len(rows.hits)
        workflows += len(rows.spreads)
        return waiting + workflows + len(rows.cancels) + len(rows.leases) + len(rows.schedule_tasks)

    async def kept(self) -> set[bytes]:
        return set(self.rows.cache)


@dataclass(slots=True)
class PgWorld(World):
    dsn: str
    connection: Connection

    @asynccontextmanager
    async def seat(self) -> AsyncGenerator[Seat[ConductorTurn]]:
        async with PgSeat(self.dsn, "conductor", ConductorPgTurn) as seat:
            yield seat

    async def now(self) -> datetime:
        row = await (await self.connection.execute("SELECT clock_timestamp()")).fetchone()
        assert row is not None
        return cast("datetime", row[0]).astimezone(UTC)

    async def append_at(self, event: NewEvent, at: datetime) -> None:
        columns = [column[0] for column in event_columns([event])]
        await self.connection.execute(
            "INSERT INTO events (originator_id, originator_version, topic, state, event_id, namespace, "
            "correlation_id, causation_id, actor, traceparent, tracestate, recorded_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (*columns, at),
        )

    async def forget_schedules(self) -> None:
        await self.connection.execute("UPDATE conductor_schedules SET done_to = 'epoch', due = now()")

    async def append(self, events: Sequence[NewEvent]) -> None:
        async with self.connection.transaction():
            assert not (await append_events(self.connection, events)).moved

    async def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        async with self.connection.cursor(binary=True) as cursor:
            return by_stream(await (await cursor.execute(LOAD, (list(streams),))).fetchall())

    async def beat(self, worker_id: str, generation: int = 1, beat: int = 1) -> None:
        await self.connection.execute(
            "INSERT INTO worker_beats (worker_id, generation, beat, received_at, heard) "
            "SELECT %s, %s, %s, clock_timestamp(), seconds FROM lease_clock ON CONFLICT (worker_id) DO UPDATE "
            "SET generation = excluded.generation, beat = excluded.beat, received_at = excluded.received_at, "
            "heard = excluded.heard",
            (worker_id, generation, beat),
        )

    def wait(self) -> None:
        """The database has the real clock."""

    async def advance(self, seconds: float) -> None:
        await self.connection.execute(
            "UPDATE lease_clock SET seconds = seconds + %s, advanced_at = clock_timestamp()", (seconds,)
        )

    async def answer(self) -> None:
        await self.connection.execute("UPDATE lease_clock SET answered = probe, answered_at = clock_timestamp()")

    async def accept(self, run_id: UUID) -> None:
        await self.connection.execute("UPDATE leases SET accepted = true WHERE run_id = %s", (run_id,))

    async def close(self, run_id: UUID) -> None:
        await self.connection.execute("DELETE FROM leases WHERE run_id = %s", (run_id,))

    async def forget(self) -> None:
        tables = await self.connection.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'conductor_%'")
        for (table,) in await tables.fetchall():
            await self.connection.execute(f"DELETE FROM {table}".encode())
        await self.connection.execute("UPDATE consumers SET position = 0 WHERE name = 'conductor'")

    async def leases(self) -> Counter[str]:
        cursor = await self.connection.execute("SELECT worker_id FROM leases")
        return Counter(row[0] for row in await cursor.fetchall())

    async def left_over(self) -> int:
        waiting = ("queue", "needs", "edges", "settled", "timers", "members", "workflows", "cancels", "schedule_tasks")
        tables = (*waiting, "hits", "spreads")
        counts = " + ".join(f"(SELECT count(*) FROM conductor_{table})" for table in tables)
        cursor = await self.connection.execute(f"SELECT {counts} + (SELECT count(*) FROM leases)".encode())
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    async def kept(self) -> set[bytes]:
        cursor = await self.connection.execute("SELECT key FROM conductor_cache")
        return {bytes(row[0]) for row in await cursor.fetchall()}


@dataclass(slots=True)
class Silence:
    """A publisher that keeps what it was given."""

    sent: list[Outgoing] = field(default_factory=list[Outgoing])

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self.sent += messages


def conductor(seat: Seat[ConductorTurn], publisher: Publisher | None = None) -> Conductor:
    publisher = publisher or Silence()
    probes, offers = Probes(publisher, lambda: EPOCH), Offers(publisher, NoTraces(), lambda: EPOCH)
    return Conductor(seat, NoTraces(), probes, offers)


async def settle(conducting: Conductor, rounds: int = 100) -> None:
    """Rounds until there is no more to do at once."""
    for _ in range(rounds):
        if not await conducting.step(await conducting.seat.page(PAGE, TYPES)):
            return
    raise AssertionError(f"still not done after {rounds} rounds")
