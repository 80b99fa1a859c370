"""The fenced seat of a follower of the log on PostgreSQL: pages, turns, hints, standing by."""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from typing import ClassVar, Generic, Literal, LiteralString, Self, TypeVar
from uuid import UUID

import psycopg
from psycopg import Notify
from psycopg.errors import ObjectNotInPrerequisiteState, SerializationFailure

from adapters.event_log import APPEND_ALL, COLUMNS, LOAD, by_stream, connect, event_columns, recorded
from adapters.listening import heard_so_far, listen
from adapters.log_page import PAGE
from adapters.pipeline import Answer, Connection, Pipeline
from domain.errors import StreamsMoved, Superseded
from domain.ports.log import Page
from domain.recorded import NewEvent, Recorded

# One snapshot for both, so that nothing at or below the end can be missed; without events there is one row, of nulls.
_PAGE_OF_TYPES = (
    "SELECT page.*, log.head FROM (SELECT max(notification_id) AS head FROM events) AS log LEFT JOIN LATERAL "
    f"(SELECT {COLUMNS} FROM events WHERE notification_id > %b AND topic = ANY(%b) "
    "ORDER BY notification_id LIMIT %b) AS page ON true ORDER BY page.notification_id"
)
_TAKE = (
    "INSERT INTO consumers AS c (name, turn, holder_pid, holder_started, stamped_at) "
    "SELECT %s, 1, pid, backend_start, clock_timestamp() FROM pg_stat_activity WHERE pid = pg_backend_pid() "
    "ON CONFLICT (name) DO UPDATE SET turn = c.turn + 1, holder_pid = excluded.holder_pid, "
    "holder_started = excluded.holder_started, stamped_at = excluded.stamped_at RETURNING turn, position"
)
_END_STALE = (
    "SELECT pg_terminate_backend(a.pid) FROM consumers c JOIN pg_stat_activity a "
    "ON a.pid = c.holder_pid AND a.backend_start = c.holder_started "
    "WHERE c.name = %s AND c.stamped_at < clock_timestamp() - interval '10 seconds'"
)
_TURN = "SELECT take_turn(%b, %b, %b)"
_STAMP = "UPDATE consumers SET stamped_at = clock_timestamp() WHERE name = %s AND turn >= %s"
STAMP_SECONDS = 2.0
BUSY = 4
"""A follower that gathers has much to do when it is told of more within so many times of that."""
BEHIND = 0.05
"""Seconds that a follower gathers which only tells of runs: those that bring a run about have the processors first."""


class PgTurn:
    """One transaction of the follower `name` on `pipeline`. `begun`: the statement that took the turn, on its way."""

    SETTINGS: ClassVar[Sequence[LiteralString]] = ()
    """Of the connection that such turns are on."""

    def __init__(self, pipeline: Pipeline, name: str, begun: Answer) -> None:
        self.pipeline, self.name, self._begun = pipeline, name, begun
        self._now: datetime | None = None

    async def now(self) -> datetime:
        """The database's clock at its begin, UTC."""
        if self._now is not None:
            return self._now
        now: datetime = (await self.pipeline.fetch(self._begun))[0][0]
        self._now = now
        return now

    async def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        """All events of these streams in order; a stream without events is left out."""
        return by_stream(await self.pipeline.rows(LOAD, (list(streams),))) if streams else {}

    async def append(self, events: Sequence[NewEvent]) -> None:
        """Store all, as the turn's last statement. Raises StreamsMoved when the turn ends."""
        if events:
            self.pipeline.send(APPEND_ALL, event_columns(events))


class RepeatablePgTurn(PgTurn):
    """A turn that may be done twice. Its commit is not waited for: a crash of the server may take the last ones back,
    with their positions."""

    SETTINGS = ("SET synchronous_commit = off",)


T = TypeVar("T", bound=PgTurn)


class PgSeat(Generic[T]):
    """The place of the follower `name`, taken by `async with`; entering waits while another process holds it.

    `channels` are the NOTIFY channels that `wait` listens to. After a hint it goes on for `gather` seconds, so that
    what comes right behind is dealt with at once; while hints come as fast as that it does not listen, but looks once
    in so many seconds: PostgreSQL wakes whoever listens at each commit. A turn's statements go out in a pipeline: only
    an answer that is asked for is waited for. A turn that raises is rolled back, and may be begun again; once the
    connection has failed, end, and take the seat anew.
    """

    def __init__(
        self,
        dsn: str,
        name: str,
        make_turn: type[T],
        channels: Sequence[str] = ("tally_log",),
        gather: float = 0.0,
    ) -> None:
        self.name, self._gather = name, gather
        self._dsn, self._make_turn, self._channels = dsn, make_turn, channels
        self._hint = asyncio.Event()
        self._hinted = -math.inf
        self._deaf = self._silent = self._behind = False
        self._heard: set[str] = set()
        self._types: frozenset[str] | None = None
        self._stack = AsyncExitStack()
        self._turn = self._position = 0

    @property
    def position(self) -> int:
        """The last position dealt with."""
        return self._position

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._work = await stack.enter_async_context(await connect(self._dsn, self.name, self._make_turn.SETTINGS))
            await self._take()
            self._pipeline = Pipeline(self._work)
            self._pid = self._work.info.backend_pid
            await self._say("LISTEN")
            stamping = await stack.enter_async_context(await connect(self._dsn, f"{self.name} stamp"))
            self._stamping = asyncio.create_task(self._stamp(stamping), name=f"stamp {self.name}")
            stack.push_async_callback(_cancelled, self._stamping)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def page(self, limit: int, types: Sequence[str] | None = None) -> Page:
        """See `domain.ports.log.Seat`. Whoever listens again looks again, behind the commit of that."""
        if self._silent is not self._deaf:
            await self._say("UNLISTEN" if self._deaf else "LISTEN")
            self._silent = self._deaf
        self._types = None if types is None else frozenset(types)
        heard_so_far(self._work, self._hear)
        self._hint.clear()
        heard, self._heard = frozenset(self._heard), set()
        async with self._pipeline as pipeline:
            if types is None:
                events = [recorded(row) for row in await pipeline.rows(PAGE, (self._position, limit))]
                up_to = events[-1].position if events else self._position
            else:
                rows = await pipeline.rows(_PAGE_OF_TYPES, (self._position, list(types), limit))
                events = [recorded(row[:-1]) for row in rows if row[0] is not None]
                end = max(self._position, rows[0][-1] or 0)
                up_to = events[-1].position if len(events) == limit else end
        self._behind = bool(events)
        return Page(events, up_to, heard)

    @asynccontextmanager
    async def turn(self, up_to: int = 0) -> AsyncGenerator[T]:
        """One fenced transaction, with which every event up to `up_to` is dealt with. Raises Superseded when another
        process has taken the seat, StreamsMoved for an append that came too late: with the first answer that is
        waited for, at the latest at the end."""
        try:
            async with self._pipeline.transaction() as pipeline:
                begun = pipeline.send(_TURN, (self.name, self._turn, up_to))
                yield self._make_turn(pipeline, self.name, begun)
        except ObjectNotInPrerequisiteState as error:
            raise Superseded(str(error)) from error
        except SerializationFailure as error:
            if moved := _moved(error):
                raise StreamsMoved(moved) from error
            raise
        self._turn, self._position = self._turn + 1, max(self._position, up_to)

    async def wait(self, seconds: float) -> None:
        """Return when the log, or what this follower watches, may have grown; at the latest after `seconds`.

        May be cancelled: it says nothing to the database. Raises what ended the stamping: without it the seat would be
        taken for stale.
        """
        if self._stamping.done():
            self._stamping.result()
        if self._deaf:
            self._deaf = self._behind
            await asyncio.sleep(self._gather if self._behind else 0.0)
            return
        await listen(self._work, self._hear, self._hint, seconds)
        if self._gather and self._hint.is_set():
            before, self._hinted = self._hinted, asyncio.get_running_loop().time()
            self._deaf = self._hinted - before < BUSY * self._gather
        await asyncio.sleep(self._gather if self._hint.is_set() else 0.0)

    async def _say(self, word: Literal["LISTEN", "UNLISTEN"]) -> None:
        async with self._pipeline as pipeline:
            for channel in self._channels:
                pipeline.send(f'{word} "{channel}"'.encode())

    async def _take(self) -> None:
        lock = f"tallyport.consumer.{self.name}"
        while True:
            cursor = await self._work.execute("SELECT pg_try_advisory_lock(hashtext(%s))", (lock,))
            row = await cursor.fetchone()
            if row is not None and row[0]:
                break
            await self._work.execute(_END_STALE, (self.name,))
            await asyncio.sleep(1.0)
        cursor = await self._work.execute(_TAKE, (self.name,))
        row = await cursor.fetchone()
        assert row is not None, "an upsert returns its row"
        self._turn, self._position = row

    def _hear(self, notice: Notify) -> None:
        if self._concerns(notice):
            self._heard.add(notice.channel)
            self._hint.set()

    async def _stamp(self, connection: Connection) -> None:
        while True:
            await asyncio.sleep(STAMP_SECONDS)
            await connection.execute(_STAMP, (self.name, self._turn))

    def _concerns(self, notice: Notify) -> bool:
        """Whether it tells of others' doing, and names, if any, a type that was last asked for."""
        types = notice.payload.split()
        return notice.pid != self._pid and (not types or self._types is None or not self._types.isdisjoint(types))


def _moved(error: SerializationFailure) -> frozenset[UUID]:
    """The streams that `append_all` names; none if PostgreSQL itself has given the transaction up."""
    try:
        return frozenset(map(UUID, (error.diag.message_detail or "").split()))
    except ValueError:
        return frozenset()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, psycopg.Error):
        await task
