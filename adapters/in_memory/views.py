"""The views, and their rebuild, in memory."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from adapters.in_memory.event_log import MemoryLog, MemoryTurn
from domain.ports.log import Page
from domain.ports.rebuilding import Compared
from domain.views import VIEWS, Row, Rows


class MemoryRows:
    """Rows of every view."""

    def __init__(self, tables: Mapping[str, Rows] | None = None) -> None:
        self.tables: dict[str, Rows] = {view: dict((tables or {}).get(view, {})) for view in VIEWS}

    async def rows(self, wanted: Mapping[str, Collection[UUID]]) -> dict[str, Rows]:
        """The rows with these ids, as far as they exist, for every view asked for."""
        return {
            view: {key: self.tables[view][key] for key in keys if key in self.tables[view]}
            for view, keys in wanted.items()
        }

    async def store(self, changed: Mapping[str, Rows]) -> None:
        """Insert or replace these rows whole. A row that is stored with an equal or later position stays."""
        for view, rows in changed.items():
            for key, row in rows.items():
                stored = self.tables[view].get(key)
                if stored is None or stored.position < row.position:
                    self.tables[view][key] = row


class MemoryViews(MemoryRows):
    """The live rows."""

    def turn(self, log: MemoryLog, name: str, now: datetime) -> "ProjectorMemoryTurn":
        """A turn that changes these rows when it commits."""
        return ProjectorMemoryTurn(self, log, name, now)


class ProjectorMemoryTurn(MemoryTurn):
    """A turn of the projector. Changes are seen inside it at once and kept if it commits."""

    def __init__(self, views: MemoryViews, log: MemoryLog, name: str, now: datetime) -> None:
        super().__init__(log, name, now)
        self._rows = MemoryRows(views.tables)
        self.effects.append(lambda: views.tables.update(self._rows.tables))

    async def rows(self, wanted: Mapping[str, Collection[UUID]]) -> dict[str, Rows]:
        """The rows with these ids, as far as they exist, for every view asked for."""
        return await self._rows.rows(wanted)

    async def store(self, changed: Mapping[str, Rows]) -> None:
        """Insert or replace these rows whole. A row that is stored with an equal or later position stays."""
        await self._rows.store(changed)


class MemoryBeside(MemoryRows):
    """New rows, and the live ones to compare them with, folded up to `live`."""

    def __init__(self, new: MemoryRows, old: MemoryViews, live: int) -> None:
        super().__init__(new.tables)
        self.live, self._old = live, old
        self.finished = False

    async def compare(self, view: str, done: int, ids: Collection[UUID] | None = None) -> Compared:
        """Compare new rows, folded up to position `done`, with the live ones; only of `ids`, if given."""
        new, old, up_to = self.tables[view], self._old.tables[view], min(done, self.live)
        keys = new.keys() | old.keys()
        judged = [key for key in keys if _position(new.get(key)) <= up_to and _position(old.get(key)) <= up_to]
        differing = {key for key in judged if (ids is None or key in ids) and new.get(key) != old.get(key)}
        return Compared(up_to, frozenset(differing))

    async def finish(self) -> None:
        """Put the new rows in the place of the live ones."""
        self.finished = True


class MemoryRebuild:
    """A rebuild of `views`; `log.seats["projector"]` says how far the live rows are."""

    def __init__(self, log: MemoryLog, live: MemoryViews, views: Sequence[str]) -> None:
        self.views = views
        self._log, self._live = log, live
        self._new = MemoryRows()

    async def begin(self) -> None:
        """Lay down new, empty rows."""
        self._new = MemoryRows()

    async def page(self, after: int, limit: int) -> Page:
        """The next events after a position, at most `limit`, and no more once they say PAGE_BYTES."""
        return self._log.page(after, limit)

    @asynccontextmanager
    async def beside(self) -> AsyncGenerator[MemoryBeside, None]:
        """A transaction on the new rows."""
        beside = MemoryBeside(self._new, self._live, self._log.seats.get("projector", (0, 0))[1])
        yield beside
        self._new = beside

    @asynccontextmanager
    async def switch(self) -> AsyncGenerator[MemoryBeside, None]:
        """The transaction of the change of places."""
        async with self.beside() as last:
            yield last
        if last.finished:
            self._live.tables.update({view: last.tables[view] for view in self.views})


def _position(row: Row | None) -> int:
    return row.position if row is not None else 0
