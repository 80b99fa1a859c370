"""A worker's surroundings in memory: the platform as it meets it, its engine, its disk, its clock."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from typing import TypeVar
from uuid import UUID

from adapters.in_memory.containers import InMemoryContainers
from adapters.in_memory.spool import MemorySpool
from adapters.in_memory.traces import NoTraces
from consumers.outfitting import Outfit, outfit
from consumers.worker import Worker
from domain.errors import Unavailable
from domain.ids import derived_id
from domain.messages import Json, Message
from domain.ports.broker import Delivery, Outgoing
from domain.ports.running import Containers, Found
from domain.reports import FinishReport, Heartbeat, RegisterWorker, Reports, RunFinish, RunStart, StartReport
from domain.specs import Container, Timeouts
from domain.work import OfferedRun, Problem, Reply, RunOffer, RunSpec, RunStop, WorkerSync
from tests.support.runs import BUSYBOX, INSTALLATION, PROGRAMS, RUN, TASK

QUEUE = "task.work.w1"
DEADLINE = 20.0
T = TypeVar("T")


class BootClock:
    """A boot clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pauses:
    """Pauses that last no time, and are written down."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await asyncio.sleep(0)


class Platform:
    """Publisher and subscription in one. `down`: nothing is confirmed; `refuses`: registrations are not accepted;
    `hears`: each beat is answered, and all that it lists may go on."""

    def __init__(self, generation: int = 3) -> None:
        self.generation, self.down, self.refuses, self.hears = generation, False, False, True
        self.published: list[Outgoing] = []
        self._queue = asyncio.Queue[Delivery]()
        self._tags, self._more = count(1), asyncio.Condition()

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        if self.down:
            raise Unavailable("no confirm")
        async with self._more:
            self.published += messages
            self._more.notify_all()
        for message in messages:
            if message.type == RegisterWorker.TYPE:
                self.tell(self._answer(message))
            elif message.type == Heartbeat.TYPE and self.hears:
                beat = Heartbeat.model_validate_json(message.body)
                self.tell(sync(beat.beat, beat.generation, valid=[run.run_id for run in beat.runs]))

    def _answer(self, message: Outgoing) -> Reply:
        if self.refuses:
            problem = Problem(type="x", title="x", detail="w1 beats elsewhere", code="worker-id-taken")
            return Reply(command_id=message.id, outcome="rejected", problem=problem)
        accepted = Reply(command_id=message.id, outcome="accepted")
        return accepted.model_copy(update={"generation": self.generation, "installation": INSTALLATION})

    async def batch(self, limit: int) -> Sequence[Delivery]:
        batch = [await self._queue.get()]
        while len(batch) < limit and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    async def ack(self, last: Delivery) -> None:
        """Nothing is ever delivered again."""

    async def settle(self, one: Delivery) -> None:
        """As above."""

    async def pause(self) -> None:
        """As above."""

    def tell(self, message: Message) -> None:
        """Put a message on the worker's queue."""
        tag = next(self._tags)
        self._queue.put_nowait(Delivery(tag, QUEUE, "task.work", "w1", message.body(), type=message.TYPE))

    async def until(self, found: Callable[[], T | None]) -> T:
        """What `found` finds in what was published, as soon as it does."""
        async with asyncio.timeout(DEADLINE), self._more:
            while not (value := found()):
                await self._more.wait()
            return value

    @property
    def beats(self) -> list[Heartbeat]:
        return [Heartbeat.model_validate_json(m.body) for m in self.published if m.type == Heartbeat.TYPE]

    @property
    def messages(self) -> list[Reports]:
        return [Reports.model_validate_json(m.body) for m in self.published if m.type == Reports.TYPE]

    @property
    def finishes(self) -> list[FinishReport]:
        return [r for m in self.messages for r in m.reports if isinstance(r, FinishReport)]

    @property
    def starts(self) -> list[StartReport]:
        return [r for m in self.messages for r in m.reports if isinstance(r, StartReport)]

    def logs(self, run: UUID = RUN) -> dict[str, bytes]:
        """What of a run's output was published, put together by offsets."""
        streams: dict[str, bytearray] = {}
        for message in self.published:
            if message.type == "log.chunk.v1" and message.headers["run-id"] == str(run):
                data, at = streams.setdefault(str(message.headers["stream"]), bytearray()), message.headers["offset"]
                assert isinstance(at, int)
                assert at <= len(data), "a hole"
                data[at : at + len(message.body)] = message.body
        return {stream: bytes(data) for stream, data in streams.items()}

    async def finish_report(self, run: UUID = RUN) -> FinishReport:
        """The run's finish, as soon as it is reported."""
        return await self.until(lambda: next((r for r in self.finishes if r.data.run_id == run), None))

    async def finish(self, run: UUID = RUN) -> RunFinish:
        return (await self.finish_report(run)).data

    async def start(self, run: UUID = RUN) -> RunStart:
        report = await self.until(lambda: next((r for r in self.starts if r.data.run_id == run), None))
        return report.data

    async def beat(self, number: int) -> Heartbeat:
        """The worker's beat of this number, or a later one."""
        return await self.until(lambda: next((b for b in self.beats if b.beat >= number), None))

    async def all_obeyed(self) -> None:
        """Return when everything told so far has been obeyed: an order that comes after it was answered."""
        last = derived_id(TASK, f"obeyed:{len(self.published)}")
        self.tell(stop(last))
        await self.finish(last)


def offered(
    command: tuple[str, ...] | None = None,
    run: UUID = RUN,
    fence: int = 1,
    beat: int = 1,
    within: float = 10.0,
    executor: str = "docker",
    image: str = BUSYBOX,
    result: str | None = None,
    pull: float = 300.0,
    artifacts: str | None = None,
    input: dict[str, Json] | None = None,
) -> OfferedRun:
    container = Container(image=image, command=command, result=result, artifacts=artifacts) if command else None
    timeouts = Timeouts(pull=timedelta(seconds=pull))
    return OfferedRun(
        task_id=TASK,
        run_id=run,
        run=1,
        fence=fence,
        beat=beat,
        within=timedelta(seconds=within),
        spec=RunSpec(
            namespace="default", name="hello", executor=executor, container=container, timeouts=timeouts, input=input
        ),
    )


def offer(*runs: OfferedRun, generation: int = 3) -> RunOffer:
    return RunOffer(generation=generation, runs=runs)


def stop(run: UUID = RUN, fence: int = 1, grace: float = 10.0, generation: int | None = None) -> RunStop:
    span = timedelta(seconds=grace)
    return RunStop(task_id=TASK, run_id=run, fence=fence, grace=span, why="cancel", generation=generation)


def sync(beat: int = 1, generation: int = 3, **fields: object) -> WorkerSync:
    return WorkerSync.model_validate({"generation": generation, "beat": beat, **fields})


async def soon(check: Callable[[], object | Awaitable[object]]) -> None:
    """Return when `check` finds what it looks for."""
    async with asyncio.timeout(DEADLINE):
        while True:
            found = check()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0)


class Ids:
    """Fresh ids that are the same in every run of a test; `who` keeps those of two workers apart."""

    def __init__(self, who: str) -> None:
        self.who, self.count = who, 0

    def __call__(self) -> UUID:
        self.count += 1
        return derived_id(TASK, f"{self.who}:{self.count}")


@dataclass(slots=True)
class Dock:
    """What outlives a worker's process."""

    containers: InMemoryContainers = field(default_factory=lambda: InMemoryContainers(PROGRAMS, [BUSYBOX]))
    spool: MemorySpool = field(default_factory=MemorySpool)
    clock: BootClock = field(default_factory=BootClock)
    pauses: Pauses = field(default_factory=Pauses)

    @asynccontextmanager
    async def worker(
        self, platform: Platform, who: str = "first", slots: int = 4, engine: bool = True
    ) -> AsyncGenerator[Worker]:
        """A worker that beats only when something happens; killed at the end of the block."""
        given = self.given(platform, who, slots)
        worker = outfit(given if engine else replace(given, containers=None))
        task = asyncio.create_task(worker.run(asyncio.Event()))
        try:
            await platform.beat(1)
            yield worker
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def left(self) -> Sequence[Found]:
        """The worker's containers."""
        return await self.containers.labelled(INSTALLATION, "w1")

    async def empty(self) -> bool:
        """No container of the worker's is left."""
        return not await self.left()

    def given(self, platform: Platform, who: str = "first", slots: int = 4) -> Outfit:
        containers: Containers = self.containers
        return Outfit(
            identity=RegisterWorker(worker_id="w1", instance=UUID(int=5), engine="in-memory", slots=slots),
            queue=QUEUE,
            publisher=platform,
            work=platform,
            containers=containers,
            spool=self.spool,
            traces=NoTraces(),
            clock=self.clock,
            new_id=Ids(who),
            heartbeat=3600.0,
            pause=self.pauses,
        )
