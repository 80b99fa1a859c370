"""What the log keeper does with what arrives."""

from collections.abc import Sequence
from typing import Any

import pytest

from adapters.in_memory.event_log import MemoryLog
from adapters.in_memory.handling import MemoryHandlerStore
from adapters.in_memory.log_storage import MemoryLogs
from consumers.logkeeper import LogKeeper
from domain.errors import Unavailable
from domain.ports.broker import Delivery
from domain.ports.logkeeping import LogChunk, StreamEnd
from tests.support.docks import Ids
from tests.support.ended_tasks import Hands
from tests.support.runs import RUN


class Queue:
    """One batch, and what was settled of it."""

    def __init__(self, *deliveries: Delivery) -> None:
        self.deliveries, self.settled = deliveries, list[int]()

    async def batch(self, limit: int) -> Sequence[Delivery]:
        return self.deliveries[:limit]

    async def ack(self, last: Delivery) -> None:
        self.settled.append(last.tag)

    async def settle(self, one: Delivery) -> None:
        """Not needed."""

    async def pause(self) -> None:
        """Not needed."""


class FullDisk:
    """Stores nothing."""

    async def store(self, chunks: Sequence[LogChunk]) -> None:
        raise Unavailable("log storage: no space left")


def chunk(tag: int = 1, **changes: Any) -> Delivery:
    headers = {"run-id": str(RUN), "fence": 1, "stream": "stdout", "offset": 0, "last": True}
    fields: dict[str, Any] = {
        "tag": tag,
        "queue": "task.logs.keeper",
        "exchange": "task.logs",
        "routing_key": f"default.{RUN}",
        "body": b"hello\n",
        "type": "log.chunk.v1",
        "headers": headers | changes.pop("headers", {}),
    }
    return Delivery(**(fields | changes))


def store() -> MemoryHandlerStore:
    return MemoryHandlerStore(MemoryLog(Hands()))


async def test_a_batch_is_stored_and_then_settled() -> None:
    logs, queue = MemoryLogs(), Queue(chunk(1), chunk(2, body=b"no", headers={"stream": "stderr"}))
    await LogKeeper(queue, logs, store(), Ids("keeper")).round()
    assert await logs.read(RUN, "stdout", 0, 100) == b"hello\n"
    assert await logs.ends(RUN) == {"stdout": StreamEnd(6, last=True), "stderr": StreamEnd(2, last=True)}
    assert queue.settled == [2]


async def test_nothing_is_settled_that_is_not_stored() -> None:
    queue = Queue(chunk())
    with pytest.raises(Unavailable):
        await LogKeeper(queue, FullDisk(), store(), Ids("keeper")).round()
    assert not queue.settled


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("unknown-type", {"type": "log.chunk.v2"}),
        ("bad-header", {"headers": {"run-id": "../../etc"}}),
        ("bad-header", {"headers": {"run-id": None}}),
        ("bad-header", {"routing_key": f"../x.{RUN}"}),
        ("bad-header", {"routing_key": f"a.b.{RUN}"}),
        ("bad-header", {"routing_key": "default.another"}),
        ("bad-header", {"headers": {"stream": "stdin"}}),
        ("bad-header", {"headers": {"stream": ["stdout"]}}),
        ("bad-header", {"headers": {"offset": -1}}),
        ("bad-header", {"headers": {"offset": True}}),
        ("bad-header", {"headers": {"offset": 2**63}}),
        ("bad-header", {"headers": {"offset": "0"}}),
        ("too-large", {"body": bytes((64 << 10) + 1)}),
    ],
)
async def test_what_is_no_chunk_is_set_aside_and_the_rest_kept(reason: str, changes: dict[str, Any]) -> None:
    logs, letters, queue = MemoryLogs(), store(), Queue(chunk(1, **changes), chunk(2))
    await LogKeeper(queue, logs, letters, Ids("keeper")).round()
    assert [letter.reason for letter in letters.dead_letters] == [reason]
    assert await logs.read(RUN, "stdout", 0, 100) == b"hello\n"
    assert queue.settled == [2]
