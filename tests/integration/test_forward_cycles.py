"""Two handlers that take up parts of one cycle at the same moment, on PostgreSQL: one of them sees the other."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

import pytest

from adapters.event_log import connect
from adapters.handler_store import PgHandlerStore
from adapters.pipeline import Connection
from domain import events as e
from domain.ports.broker import Delivery
from domain.ports.handling import Writes
from tests.support.commands import Desk, task
from tests.support.database import Database

pytestmark = pytest.mark.integration


class Meeting(PgHandlerStore):
    """A store that first commits when the other one is about to as well."""

    def __init__(self, connection: Connection, barrier: asyncio.Barrier) -> None:
        super().__init__(connection)
        self.barrier, self.met = barrier, False

    async def commit(self, writes: Writes) -> Sequence[int] | None:
        if not self.met:
            self.met = True
            await self.barrier.wait()
        return await super().commit(writes)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two handlers, and what both have answered."""

    desks: tuple[Desk, Desk]
    stores: tuple[Meeting, Meeting]
    calm: PgHandlerStore

    async def before(self, *deliveries: Delivery) -> None:
        handle = replace(self.desks[0].handle, store=self.calm)
        await handle(deliveries)
        self.desks[0].sent.messages.clear()

    async def both(self, one: Sequence[Delivery], other: Sequence[Delivery]) -> list[str]:
        """Handle both at the same moment; what became of the last of each."""
        handlers = [replace(desk.handle, store=store) for desk, store in zip(self.desks, self.stores, strict=True)]
        async with asyncio.timeout(20):
            await asyncio.gather(handlers[0](one), handlers[1](other))
        last = [desk.sent.replies[-1] for desk in self.desks]
        return sorted(reply.problem.code if reply.problem else reply.outcome for reply in last)


@pytest.fixture
async def pair(pg: Database) -> AsyncGenerator[Pair]:
    barrier = asyncio.Barrier(2)
    async with await connect(pg.app, "one") as one, await connect(pg.app, "other") as other:
        desks = (Desk(), Desk())
        desks[1].new_id.count = 1000
        yield Pair(desks, (Meeting(one, barrier), Meeting(other, barrier)), PgHandlerStore(one))


@pytest.mark.parametrize(
    ("before", "one", "other"),
    [
        ([], [task("T0", "~T1")], [task("T1", "~T0")]),
        ([task("Z", "~T0", "~T1")], [task("X", "~T0"), task("T0", "~T1")], [task("Y", "~T1"), task("T1", "~T0")]),
        (
            [task("Q", "~M"), task("P", "~L")],
            [task("X", "~L"), task("L", "Q")],
            [task("Y", "~M"), task("M", "P")],
        ),
    ],
    ids=["neither is known", "both are promised", "through others"],
)
async def test_of_two_tasks_that_close_a_cycle_at_once_one_is_refused(
    pair: Pair, before: list[Delivery], one: list[Delivery], other: list[Delivery]
) -> None:
    if before:
        await pair.before(*before)

    assert await pair.both(one, other) == ["accepted", "dependency-cycle"]


async def test_a_task_is_the_one_that_another_handler_has_begun_to_wait_for_at_the_same_moment(pair: Pair) -> None:
    assert await pair.both([task("T0")], [task("T1", "~T0")]) == ["accepted", "accepted"]

    ids = [reply.id for desk in pair.desks for reply in desk.sent.replies if reply.id is not None]
    loaded = await pair.calm.load(ids)
    assert [rows[0].version for rows in loaded.values()] == [1, 1]
    submitted = [event for rows in loaded.values() if isinstance(event := rows[0].event(), e.TaskSubmitted)]
    assert {need.stream for one in submitted for need in one.depends_on} == {ids[0]}
