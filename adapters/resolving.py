"""What a reference of a user's stands for: an id, the name he gave, or how an id begins."""

import re
from uuid import UUID

from adapters.conditions import Where
from adapters.reading import Reader
from domain.errors import AmbiguousId
from domain.ids import child_of, child_stream
from domain.messages import is_uuid
from domain.ports.querying import MIN_PREFIX, Allowed, Kind

TABLES: dict[Kind, str] = {"task": "tasks", "run": "runs", "workflow": "workflows", "schedule": "schedules"}
_PREFIX = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{0,4}(-?[0-9a-f]{0,4}(-?[0-9a-f]{0,4}(-?[0-9a-f]{0,12})?)?)?)?")


async def resolve(reader: Reader, kind: Kind, ref: str, allowed: Allowed) -> UUID | None:
    """The stream that `ref` names: its id, else its given name, else that of the task whose child it is, else the only
    id that begins so."""
    whole = is_uuid(ref)
    if whole is not None and await ids(reader, kind, allowed, "x.id = %s", whole):
        return whole
    if kind != "run" and (named := await _named(reader, kind, ref, allowed)):
        return named
    if kind == "task" and (child := child_of(ref)):
        parent = await resolve(reader, kind, child[0], allowed)
        stream = child_stream(parent, child[1]) if parent else None
        return stream if stream and await ids(reader, kind, allowed, "x.id = %s", stream) else None
    prefix = ref.lower()
    if whole is not None or len(prefix) < MIN_PREFIX or not _PREFIX.fullmatch(prefix):
        return None
    digits = prefix.replace("-", "")
    first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    found = await ids(reader, kind, allowed, "x.id BETWEEN %s AND %s", first, last)
    if len(found) > 1:
        raise AmbiguousId(f"id: {ref} begins the ids of several {TABLES[kind]}; give more of its characters")
    return found[0] if found else None


async def ids(reader: Reader, kind: Kind, allowed: Allowed, condition: str, *parameters: object) -> list[UUID]:
    """At most two ids of this kind, named `x.id` in `condition`."""
    where = Where()
    where.add(condition, *parameters)
    where.within("x.namespace", allowed)
    text = f"SELECT x.id FROM {TABLES[kind]} x WHERE {where.text()} LIMIT 2"
    return [row[0] for row in await reader.rows(text, *where.parameters)]


async def _named(reader: Reader, kind: Kind, name: str, allowed: Allowed) -> UUID | None:
    where = Where()
    where.within("n.namespace", allowed)
    if kind == "schedule":
        where.add("n.schedule_id = %s", name)
        text = f"SELECT n.id, n.namespace FROM schedules n WHERE {where.text()} LIMIT 2"
    else:
        where.add("n.kind = %s AND n.name = %s AND n.digest <> ''", kind, name)
        text = f"SELECT n.stream, n.namespace FROM names n WHERE {where.text()} LIMIT 2"
    rows = await reader.rows(text, *where.parameters)
    if len(rows) > 1:
        raise AmbiguousId(f"id: {name} is a {kind} in {rows[0][1]} and in {rows[1][1]}; name the namespace")
    return rows[0][0] if rows else None
