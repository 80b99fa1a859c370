"""`domain.ports.inspecting.DeadLetters` on PostgreSQL."""

from uuid import UUID

from adapters.query_texts import HEAD
from adapters.reading import Reader
from adapters.task_listing import cursor as next_cursor
from adapters.task_listing import read_cursor
from domain.ports.querying import Found, Listed

_BRIEF = "d.id, d.received_at, d.queue, d.reason, d.detail, d.sender, d.message_id, length(d.body) AS bytes"
_PAGE = (
    f"SELECT (SELECT row_to_json(x)::text FROM (SELECT {_BRIEF}) x), d.id::text, {HEAD} FROM dead_letters d "
    "WHERE d.id < %s::uuid ORDER BY d.id DESC LIMIT %s"
)
_ONE = (
    f"SELECT (SELECT row_to_json(x)::text FROM (SELECT {_BRIEF}, d.headers, encode(d.digest, 'hex') AS sha256, "
    f"encode(d.body, 'base64') AS body_base64) x), 1, 0, {HEAD} FROM dead_letters d WHERE d.id = %s"
)
LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class PgDeadLetters:
    """Ids are of version 7, so their order is that of arrival, in the case of poison to the hour."""

    def __init__(self, reader: Reader) -> None:
        self._rows = reader.rows

    async def listed(self, limit: int = 50, cursor: str | None = None) -> Listed:
        """A page without bodies and headers, the newest first."""
        before = LAST if cursor is None else read_cursor(cursor, "dead-letters")[1]
        rows = await self._rows(_PAGE, before, limit + 1)
        shown = rows[:limit]
        more = next_cursor("dead-letters", "", shown[-1][1]) if len(rows) > limit else None
        return Listed(f"[{','.join(row[0] for row in shown)}]", len(shown), more, shown[0][2] if shown else 0)

    async def one(self, id: UUID) -> Found | None:
        """All that was kept of one."""
        rows = await self._rows(_ONE, id)
        return Found(*rows[0]) if rows else None
