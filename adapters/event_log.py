"""The log on PostgreSQL: how to connect, the one append, streams."""

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from uuid_utils.compat import uuid7

from adapters.pipeline import Connection
from domain.messages import Cause
from domain.ports.log import Appended
from domain.recorded import NewEvent, Recorded

COLUMNS = (
    "notification_id, originator_id, originator_version, topic, state, event_id, recorded_at, namespace, "
    "correlation_id, causation_id, actor, traceparent, tracestate"
)
LOAD = f"SELECT {COLUMNS} FROM events WHERE originator_id = ANY(%b) ORDER BY originator_id, originator_version"
_ARRAYS = (
    "%b::uuid[], %b::bigint[], %b::text[], %b::bytea[], %b::uuid[], %b::text[], %b::text[], %b::text[], %b::text[], "
    "%b::text[], %b::text[]"
)
_APPEND = f"SELECT positions, moved FROM append_events({_ARRAYS})"
APPEND_ALL = f"SELECT append_all({_ARRAYS})"


_WATCHFUL = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c idle_in_transaction_session_timeout=30s -c tcp_user_timeout=10s "
    "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3",
}
"""Neither side waits long for one that is gone without a word: a transaction may hold the log's lock."""


_ISOLATION: LiteralString = "SET default_transaction_isolation = 'read committed'"
BY_INDEXES = ("SET plan_cache_mode = force_generic_plan", "SET enable_seqscan = off", "SET jit = off")
"""One plan for each prepared statement, by indexes: a table that was empty when it was made may be long soon after."""


async def connect(dsn: str, application: str, settings: Iterable[LiteralString] = ()) -> Connection:
    """A connection that commits each statement unless a transaction is opened, and prepares what it repeats.

    `settings` are statements that set it. Whatever the database's default, it sees what others have committed: the
    platform's statements lock or compare what they rely on, and are not repeated for PostgreSQL's own doubts.
    What `dsn` says of timeouts counts. Raises psycopg.OperationalError, at the latest after 5 s.
    """
    named = {"application_name": f"tally {application}"}
    wanted: dict[str, Any] = {**_WATCHFUL, **conninfo_to_dict(dsn), **named}
    connection: Connection = await AsyncConnection.connect(autocommit=True, **wanted)
    for setting in (_ISOLATION, *settings):
        await connection.execute(setting)
    return connection


def recorded(row: tuple[Any, ...]) -> Recorded:
    """A row of `COLUMNS`."""
    position, stream, version, topic, body, event_id, at, namespace, *cause = row
    return Recorded(position, stream, version, topic, body, event_id, at, namespace, Cause(*cause))


def by_stream(rows: Iterable[tuple[Any, ...]]) -> dict[UUID, list[Recorded]]:
    """The answer to `LOAD`: all events of the streams it was given, in order; one without events is left out."""
    loaded: dict[UUID, list[Recorded]] = {}
    for row in rows:
        loaded.setdefault(row[1], []).append(recorded(row))
    return loaded


def event_columns(events: Sequence[NewEvent]) -> tuple[list[Any], ...]:
    """The eleven arrays that `append_events` takes in PostgreSQL."""
    causes = [new.cause for new in events]
    return (
        [new.stream for new in events],
        [new.version for new in events],
        [new.event.TYPE for new in events],
        [new.event.body() for new in events],
        [uuid7() for _ in events],
        [new.namespace for new in events],
        [cause.correlation_id for cause in causes],
        [cause.causation_id for cause in causes],
        [cause.actor for cause in causes],
        [cause.traceparent for cause in causes],
        [cause.tracestate for cause in causes],
    )


async def append_events(connection: Connection, events: Sequence[NewEvent]) -> Appended:
    """Append inside the open transaction, as its last statement: the log's lock is held to its end."""
    if not events:
        return Appended((), frozenset())
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(_APPEND, event_columns(events), prepare=True)
        row = await cursor.fetchone()
    assert row is not None, "append_events returns one row"
    return Appended(tuple(row[0]), frozenset(row[1]))
