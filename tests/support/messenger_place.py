"""A messenger in a world in memory: a log, open leases, beats, and the queues of two workers."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from adapters.in_memory.broker import InMemoryBroker
from adapters.in_memory.event_log import MemoryLog, MemorySeat
from adapters.in_memory.messaging import Desk
from adapters.in_memory.traces import NoTraces
from consumers.messenger import TYPES, Messenger
from domain import events as e
from domain.messages import Cause, Message
from domain.recorded import new_events
from domain.specs import TaskSpec
from domain.work import WORK
from infra.topology import TOPOLOGY, work_queue, worker_topology
from tests.support.commands import Ids
from tests.support.ended_tasks import NOW, Hands

RUN, RUN_2 = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7d01"), UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7d02")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CAUSE = Cause("chain", "command", "alice", TRACE, "vendor=1")

CANCELLING = e.TaskCancelling(
    task_id="T1", run_id=RUN, fence=1, worker_id="w1", grace=timedelta(seconds=30), by="alice"
)


def leased(run: UUID, fence: int = 1, worker: str = "w1", generation: int = 3) -> e.RunLeased:
    return e.RunLeased(
        task_id="T1",
        run_id=run,
        run=1,
        fence=fence,
        worker_id=worker,
        generation=generation,
        beat=812,
        within=timedelta(seconds=11.4),
        expires_at=NOW + timedelta(seconds=12),
    )


class Place:
    """A log, open leases, beats, and a messenger to workers w1 and w2."""

    def __init__(self) -> None:
        self.hands = Hands()
        self.log, self.desk, self.broker = MemoryLog(self.hands), Desk(), InMemoryBroker()
        self.seat = MemorySeat(self.log, "messenger", self.desk.turn)
        self.messenger = Messenger(self.seat, self.broker.publisher(), NoTraces(), Ids())

    def task(self, stream: UUID, *events: e.TaskEvent, spec: TaskSpec | None = None) -> None:
        submitted = e.TaskSubmitted(task_id="T1", spec=spec or TaskSpec(executor="noop", name="nightly"))
        self.log.append(new_events(stream, 0, "analytics", [submitted, *events], CAUSE))
        for event in events:
            if isinstance(event, e.RunLeased):
                self.desk.leases[event.run_id] = (event.fence, stream, event.generation)

    async def step(self) -> bool:
        return await self.messenger.step(await self.seat.page(1000, TYPES))

    def told(self, worker: str) -> Sequence[Message]:
        return [
            WORK[delivery.type or ""].model_validate_json(delivery.body)
            for delivery in self.broker.waiting(work_queue(worker))
        ]


async def place() -> Place:
    made = Place()
    for topology in (TOPOLOGY, worker_topology("w1"), worker_topology("w2")):
        await made.broker.declare(topology)
    return made
