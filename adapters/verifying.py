"""Whether the views are what the log says: a fold of the log, read by the library's recorder, against every row."""

from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from adapters.recorder import LogRecorder, open_datastore
from adapters.views import columns
from domain.views import VIEWS, Rows, by_row, facts, fold

PAGE = 5000
_BEGIN = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_POSITION = "SELECT coalesce(max(position), 0) FROM consumers WHERE name = 'projector'"


@dataclass(frozen=True, slots=True)
class Verified:
    """`position`: what the views are folded up to, and the fold too. `rows`: how many each view has.

    `differing`: ids whose row is missing, too many or not equal.
    """

    position: int
    events: int
    rows: dict[str, int]
    differing: dict[str, frozenset[UUID]]

    @property
    def equal(self) -> bool:
        return not any(self.differing.values())


def projected(dsn: str) -> int:
    """The projector's position: what is at or below it is in the views. `dsn` needs no more than to read."""
    with _snapshot(dsn) as connection:
        position: int = _one(connection, _POSITION)
    return position


def verify(dsn: str, views: Collection[str]) -> Verified:
    """Fold the log up to the projector's position and compare, while both go on. Holds all rows in memory once.

    Blocks: call it in a thread. `dsn` needs no more than to read.
    """
    with _snapshot(dsn) as connection, open_datastore(dsn) as datastore:
        position: int = _one(connection, _POSITION)
        events, folded = _fold(LogRecorder(datastore), position, views)
        rows = {view: len(folded[view]) for view in views}
        differing = {view: _differing(connection, view, folded[view]) for view in views}
    return Verified(position, events, rows, differing)


@contextmanager
def _snapshot(dsn: str) -> Generator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(dsn, application_name="tally verify") as connection, connection.transaction():
        connection.execute(_BEGIN)
        yield connection


def _one(connection: psycopg.Connection[tuple[Any, ...]], statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None, "an aggregate returns a row"
    return row[0]


def _fold(recorder: LogRecorder, stop: int, views: Collection[str]) -> tuple[int, dict[str, Rows]]:
    rows: dict[str, Rows] = {view: {} for view in views}
    after = events = 0
    while page := recorder.recorded(after, PAGE, stop):
        said = facts(page)
        for view in views:
            rows[view].update(fold(VIEWS[view], rows[view], by_row(VIEWS[view], said)))
        after, events = page[-1].position, events + len(page)
    return events, rows


def _differing(connection: psycopg.Connection[tuple[Any, ...]], view: str, folded: Rows) -> frozenset[UUID]:
    names = sql.SQL(", ").join(map(sql.Identifier, columns(view)))
    differing: set[UUID] = set()
    with connection.cursor(f"verify_{view}", binary=True) as cursor:
        cursor.itersize = PAGE
        cursor.execute(sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(view)))
        for values in cursor:
            row = VIEWS[view].row(*values)
            if folded.pop(row.id, None) != row:
                differing.add(row.id)
    return frozenset(differing | folded.keys())
