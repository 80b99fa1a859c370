"""`domain.ports.rebuilding` on PostgreSQL: new tables in the schema `rebuild`, which then move to `public`."""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg

from adapters.arrays import Uuids
from adapters.event_log import connect, recorded
from adapters.log_page import PAGE
from adapters.pipeline import Connection, Pipeline
from adapters.views import PgViewRows, columns
from domain.errors import Unavailable
from domain.ports.log import Page
from domain.ports.rebuilding import Compared

SCHEMA = "rebuild"
PROJECTOR = "projector"
_LOCK = "SELECT pg_try_advisory_lock(hashtext('tallyport.rebuild'))"
_LIVE = f"(SELECT coalesce(max(position), 0) FROM consumers WHERE name = '{PROJECTOR}')"
_HOLD = f"SELECT position FROM consumers WHERE name = '{PROJECTOR}' FOR UPDATE"
# Below the second after which PostgreSQL looks for deadlocks: it is the switch that gives way, never a reader.
_WAIT = "SET LOCAL lock_timeout = '500ms'"


@asynccontextmanager
async def open_rebuild(dsn: str, views: Sequence[str]) -> AsyncGenerator["PgRebuild", None]:
    """A rebuild of these views; what it leaves unfinished is dropped at the end."""
    async with (
        await connect(dsn, "rebuild") as holds,
        await connect(dsn, "rebuild") as reads,
        await connect(dsn, "rebuild") as writes,
    ):
        target = PgRebuild(holds, reads, writes, views)
        try:
            yield target
        finally:
            await target.drop()


class PgBeside(PgViewRows):
    """The new tables, inside a transaction."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline, SCHEMA)

    async def compare(self, view: str, done: int, ids: Collection[UUID] | None = None) -> Compared:
        """Compare new rows, folded up to position `done`, with the live ones; only of `ids`, if given."""
        only = "" if ids is None else "AND id = ANY(%b)"
        text = _COMPARE.format(view=view, live=_LIVE, only=only, columns=", ".join(columns(view)))
        values = (done, *([] if ids is None else [Uuids(ids)] * 2))
        ((up_to, differing),) = await self._pipeline.rows(text.encode(), values, prepare=False)
        return Compared(up_to, frozenset(differing))


class PgSwitch(PgBeside):
    """The transaction that holds the projector's row."""

    def __init__(self, pipeline: Pipeline, live: int, views: Sequence[str]) -> None:
        super().__init__(pipeline)
        self._live, self._views = live, views

    @property
    def live(self) -> int:
        """The position that the live rows are folded up to, and stay at meanwhile."""
        return self._live

    async def finish(self) -> None:
        """Put the new tables in the place of the live ones."""
        for view in self._views:
            await self._pipeline.rows("SELECT finish_rebuild(%b)", (view,))


class PgRebuild:
    """Reads pages on one connection and writes on another. A third one holds the lock of all rebuilds, lays down the
    tables and drops them: a wait that is cancelled ends the other two."""

    def __init__(self, holds: Connection, reads: Connection, writes: Connection, views: Sequence[str]) -> None:
        self.views = views
        self._holds = holds
        self._reading, self._writing = Pipeline(reads), Pipeline(writes)
        self._begun = False

    async def begin(self) -> None:
        """Lay down new, empty tables. Raises Unavailable while another rebuild runs."""
        cursor = await self._holds.execute(_LOCK)
        row = await cursor.fetchone()
        if row is None or not row[0]:
            raise Unavailable("another rebuild of views runs: wait for its end")
        self._begun = True
        for view in self.views:
            await self._holds.execute("SELECT begin_rebuild(%s)", (view,))

    async def page(self, after: int, limit: int) -> Page:
        """The next events after a position, at most `limit`, and no more once they say PAGE_BYTES."""
        async with self._reading as pipeline:
            events = [recorded(row) for row in await pipeline.rows(PAGE, (after, limit))]
        return Page(events, events[-1].position if events else after)

    @asynccontextmanager
    async def beside(self) -> AsyncGenerator[PgBeside, None]:
        """A transaction on the new tables."""
        async with self._writing.transaction() as pipeline:
            yield PgBeside(pipeline)

    @asynccontextmanager
    async def switch(self) -> AsyncGenerator[PgSwitch, None]:
        """The transaction of the change of places."""
        try:
            async with self._writing.transaction() as pipeline:
                pipeline.send(_WAIT)
                held = await pipeline.rows(_HOLD)
                yield PgSwitch(pipeline, held[0][0] if held else 0, self.views)
        except psycopg.errors.LockNotAvailable as busy:
            raise Unavailable("the views are being read without pause: no moment for the switch") from busy

    async def drop(self) -> None:
        """Forget the new tables, if they have not become the live ones."""
        if self._begun:
            for view in self.views:
                await self._holds.execute("SELECT drop_rebuild(%s)", (view,))


_COMPARE = """
WITH seen AS (SELECT least(%b, {live}) AS up_to),
  live AS (SELECT {columns} FROM public.{view} WHERE true {only}),
  new AS (SELECT {columns} FROM rebuild.{view} WHERE true {only})
SELECT (SELECT up_to FROM seen), coalesce(array_agg(coalesce(l.id, n.id)), '{{}}')
FROM live l FULL JOIN new n ON l.id = n.id
WHERE coalesce(l.position, 0) <= (SELECT up_to FROM seen) AND coalesce(n.position, 0) <= (SELECT up_to FROM seen)
  AND l IS DISTINCT FROM n
"""
