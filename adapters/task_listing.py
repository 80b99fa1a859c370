"""A page of tasks as SQL: conditions, order, and the place where the last page ended."""

import base64
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

import orjson

from adapters.conditions import Where
from domain.errors import BadQuery
from domain.messages import is_uuid
from domain.ports.querying import MAX_TASKS, SORTS, STATUS_GROUPS, Allowed, TaskFilter

STATUSES = (
    "blocked",
    "queued",
    "running",
    "succeeded",
    "failed",
    "cancelling",
    "cancelled",
    "skipped",
    "expired",
    "quarantined",
    "paused",
)
MAX_OFFSET = 100_000
SKEW = timedelta(hours=1)
"""How far the clock of an id's maker may be from the database's: a bound on ids beside each bound on times. Ids that
are older than that by their nature are in an index of their own (`id_is_old` in the schema, with the same hour)."""

_SORT_COLUMNS = {"created_at": "id", "updated_at": "updated_at", "priority": "priority", "name": "name"}
_SORT_TYPES = {"updated_at": "timestamptz", "priority": "int", "name": "text"}


def listing(wanted: TaskFilter) -> tuple[str, str, list[Any]]:
    """What follows FROM tasks t, the expression of the sort key, the parameters. One row more than the limit is asked
    for: there is a next page if it comes.

    Raises BadQuery for a sort, status, limit, offset or cursor that is none.
    """
    sort, descending = check(wanted)
    column = _SORT_COLUMNS[sort]
    where = conditions(wanted)
    if wanted.cursor is not None:
        value, last = read_cursor(wanted.cursor, wanted.sort)
        beyond = "<" if descending else ">"
        if column == "id":
            where.add(f"t.id {beyond} %s::uuid", last)
        else:
            where.add(f"(t.{column}, t.id) {beyond} (%s::{_SORT_TYPES[sort]}, %s::uuid)", value, last)
    way = "DESC" if descending else "ASC"
    order = f"t.id {way}" if column == "id" else f"t.{column} {way}, t.id {way}"
    text = f"WHERE {where.text()} ORDER BY {order} LIMIT %s OFFSET %s"
    return text, f"t.{column}::text", [*where.parameters, wanted.limit + 1, wanted.offset]


def check(wanted: TaskFilter) -> tuple[str, bool]:
    """What to sort by, and whether the last come first. Raises BadQuery."""
    if not 1 <= wanted.limit <= MAX_TASKS:
        raise BadQuery(f"limit: {wanted.limit} is not from 1 to {MAX_TASKS}")
    if not 0 <= wanted.offset <= MAX_OFFSET:
        raise BadQuery(f"offset: {wanted.offset} is not from 0 to {MAX_OFFSET}; page with the cursor instead")
    sort = wanted.sort.removeprefix("-")
    if sort not in SORTS:
        raise BadQuery(f"sort: {wanted.sort} is none of {', '.join(SORTS)}, each also with - in front")
    return sort, wanted.sort.startswith("-")


def conditions(wanted: TaskFilter) -> Where:
    """Which tasks, all filters together."""
    where = Where()
    where.within("t.namespace", wanted.allowed)
    if wanted.status:
        where.one_of("t.status", statuses(wanted.status))
    for column, value in (("name", wanted.name), ("worker_id", wanted.worker), ("task_type", wanted.task_type)):
        if value is not None:
            where.add(f"t.{column} = %s", value)
    if wanted.workflow is not None:
        _of(where, "workflow", wanted.workflow, wanted.allowed)
    if wanted.parent is not None:
        _of(where, "parent", wanted.parent, wanted.allowed)
    _labels(where, wanted)
    if wanted.created_after is not None:
        ids = "(t.id >= uuid_floor(%s) OR id_is_old(t.id, t.created_at))"
        where.add(f"t.created_at > %s AND {ids}", wanted.created_after, wanted.created_after - SKEW)
    if wanted.created_before is not None:
        where.add("t.created_at < %s AND t.id < uuid_floor(%s)", wanted.created_before, wanted.created_before + SKEW)
    return where


def cursor(sort: str, value: str, id: str) -> str:
    """The place of a row in the order `sort`: text without meaning to its bearer."""
    return base64.urlsafe_b64encode(orjson.dumps([sort, value, id])).decode().rstrip("=")


def read_cursor(text: str, sort: str) -> tuple[str, str]:
    """The sort value and the id that `cursor` wrote. Raises BadQuery."""
    try:
        made_for, value, last = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError):
        raise BadQuery("cursor: it was not given out here; begin again without one") from None
    if made_for != sort:
        raise BadQuery(f"cursor: it continues sort={made_for}; keep that sort, or begin again without a cursor")
    return str(value), str(last)


def statuses(given: Sequence[str]) -> list[str]:
    """The statuses that these words stand for. Raises BadQuery."""
    asked = [one for status in given for one in STATUS_GROUPS.get(status, (status,))]
    if unknown := sorted(set(asked) - set(STATUSES)):
        raise BadQuery(f"status: {unknown[0]} is none of {', '.join((*STATUSES, *STATUS_GROUPS))}")
    return sorted(set(asked))


def _of(where: Where, column: Literal["workflow", "parent"], ref: str, allowed: Allowed) -> None:
    named = Where()
    named.add("n.kind = %s AND n.name = %s", "task" if column == "parent" else column, ref)
    named.within("n.namespace", allowed)
    streams = f"ARRAY(SELECT n.stream FROM names n WHERE {named.text()}) || %s::uuid[]"
    stream = is_uuid(ref)
    where.add(f"t.{column} = ANY({streams})", *named.parameters, [] if stream is None else [stream])


def _labels(where: Where, wanted: TaskFilter) -> None:
    exact = {name: value for name, value in wanted.labels.items() if value is not None}
    if exact:
        where.add("t.labels <> '{}' AND t.labels @> %s::jsonb", orjson.dumps(exact).decode())
    for name, value in wanted.labels.items():
        if value is None:
            where.add("t.labels ? %s", name)
