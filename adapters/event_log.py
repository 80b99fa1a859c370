"""The log on PostgreSQL: how to connect, the one append, streams."""

from collections.abc import Sequence
from typing import Any, TypeAlias
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from uuid_utils.compat import uuid7

from domain.messages import Cause
from domain.ports.log import Appended
from domain.recorded import NewEvent, Recorded

Connection: TypeAlias = AsyncConnection[tuple[Any, ...]]

COLUMNS = (
    "notification_id, originator_id, originator_version, topic, state, event_id, recorded_at, namespace, "
    "correlation_id, causation_id, actor, traceparent, tracestate"
)
_LOAD = f"SELECT {COLUMNS} FROM events WHERE originator_id = ANY(%b) ORDER BY originator_id, originator_version"
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


async def connect(dsn: str, application: str) -> Connection:
    """A connection that commits each statement unless a transaction is opened, and prepares what it repeats.

    What `dsn` says of timeouts counts. Raises psycopg.OperationalError, at the latest after 5 s.
    """
    named = {"application_name": f"tally {application}"}
    wanted: dict[str, Any] = {**_WATCHFUL, **conninfo_to_dict(dsn), **named}
    return await AsyncConnection.connect(autocommit=True, **wanted)


def recorded(row: tuple[Any, ...]) -> Recorded:
    """A row of `COLUMNS`."""
    position, stream, version, topic, body, event_id, at, namespace, *cause = row
    return Recorded(position, stream, version, topic, body, event_id, at, namespace, Cause(*cause))


async def load_streams(connection: Connection, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
    """All events of these streams in order; a stream without events is left out."""
    loaded: dict[UUID, list[Recorded]] = {}
    if streams:
        async with connection.cursor(binary=True) as cursor:
            await cursor.execute(_LOAD, (list(streams),), prepare=True)
            for row in await cursor.fetchall():
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
