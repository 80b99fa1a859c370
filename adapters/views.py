"""The rows of the views on PostgreSQL: one read and one upsert a view and page."""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache
from typing import Any, cast, get_args, get_type_hints
from uuid import UUID

from adapters.arrays import Bigints, Booleans, Column, Jsons, Moments, Texts, Uuids
from adapters.pipeline import Pipeline
from adapters.seat import RepeatablePgTurn
from domain.views import VIEWS, Row, Rows

_COLUMN_OF: dict[type, type[Column]] = {
    UUID: Uuids,
    str: Texts,
    int: Bigints,
    bool: Booleans,
    datetime: Moments,
    dict: Jsons,
}


class PgViewRows:
    """`domain.ports.projecting.ViewRows` on the tables of one schema, inside the caller's transaction."""

    def __init__(self, pipeline: Pipeline, schema: str = "public") -> None:
        self._pipeline, self._schema = pipeline, schema

    async def rows(self, wanted: Mapping[str, Collection[UUID]]) -> dict[str, Rows]:
        """The rows with these ids, as far as they exist, for every view asked for."""
        return {view: await self._rows(view, ids) if ids else {} for view, ids in wanted.items()}

    async def store(self, changed: Mapping[str, Rows]) -> None:
        """Insert or replace these rows whole. A row that is stored with an equal or later position stays."""
        for view, rows in changed.items():
            if rows:
                self._store(view, rows.values())

    async def _rows(self, view: str, ids: Collection[UUID]) -> Rows:
        make = VIEWS[view].row
        found = await self._pipeline.rows(select_rows(view, self._schema), (Uuids(ids),))
        return {row[0]: make(*row) for row in found}

    def _store(self, view: str, rows: Collection[Row]) -> None:
        arrays = [column(each) for column, each in zip(columns(view).values(), zip(*rows, strict=True), strict=True)]
        self._pipeline.send(upsert(view, self._schema), arrays)


class ProjectorPgTurn(RepeatablePgTurn):
    """`domain.ports.projecting.ProjectorTurn`."""

    async def rows(self, wanted: Mapping[str, Collection[UUID]]) -> dict[str, Rows]:
        """The rows with these ids, as far as they exist, for every view asked for."""
        return await PgViewRows(self.pipeline).rows(wanted)

    async def store(self, changed: Mapping[str, Rows]) -> None:
        """Insert or replace these rows whole. A row that is stored with an equal or later position stays."""
        await PgViewRows(self.pipeline).store(changed)


@cache
def columns(view: str) -> Mapping[str, type[Column]]:
    """The columns of a view's table, in the order of its row's fields."""
    hints = get_type_hints(VIEWS[view].row)
    return {name: _COLUMN_OF[_bare(hints[name])] for name in VIEWS[view].row._fields}


@cache
def select_rows(view: str, schema: str) -> bytes:
    """Rows by id."""
    return f"SELECT {', '.join(columns(view))} FROM {schema}.{view} WHERE id = ANY(%b)".encode()


@cache
def upsert(view: str, schema: str) -> bytes:
    """Rows from one array a column; those that are not newer than what is stored change nothing."""
    names = list(columns(view))
    arrays = ", ".join(f"%b::{column.cast}" for column in columns(view).values())
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name != "id")
    return (
        f"INSERT INTO {schema}.{view} AS v ({', '.join(names)}) SELECT * FROM unnest({arrays}) "
        f"ON CONFLICT (id) DO UPDATE SET {changes} WHERE v.position < excluded.position"
    ).encode()


def _bare(hint: Any) -> type:
    """The type that a hint such as `UUID | None` or `dict[str, str]` is about."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    if getattr(hint, "__origin__", None) is dict:
        return dict
    return cast("type", kinds[0] if kinds else hint)
