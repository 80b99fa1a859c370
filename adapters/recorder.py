"""The `eventsourcing` library's recorder on our log: its reading and tracking as they are, its insert replaced.

For time travel, for verifying, and for tools that speak the library's interfaces; the writers of the platform use
`adapters.event_log`. Both append through the same function, so both keep the one order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    ApplicationRecorder,
    IntegrityError,
    JSONTranscoder,
    Mapper,
    NotSupportedError,
    StoredEvent,
    Subscription,
)
from eventsourcing.postgres import PostgresDatastore, PostgresProcessRecorder
from psycopg import Cursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, tuple_row
from psycopg.sql import SQL
from uuid_utils.compat import uuid7

from adapters.event_log import COLUMNS, recorded
from domain.events import Event, read_event
from domain.messages import Cause
from domain.recorded import Recorded

_APPEND = (
    "SELECT positions, moved FROM append_events(%s::uuid[], %s::bigint[], %s::text[], %s::bytea[], %s::uuid[], "
    "%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])"
)
_ENVELOPES = SQL(f"SELECT {COLUMNS} FROM events WHERE notification_id = ANY(%s) ORDER BY notification_id")


def open_datastore(dsn: str) -> PostgresDatastore:
    """The library's connection pool for a DSN: one connection, more while they are needed. Use as a context manager."""
    given = conninfo_to_dict(dsn)
    host, port = given.get("host", ""), given.get("port", 5432)
    names = given.get("dbname", ""), host, port, given.get("user", ""), given.get("password", "")
    return PostgresDatastore(*(str(name) for name in names), max_overflow=10, connect_timeout=30.0)


class LogRecorder(PostgresProcessRecorder):
    """Events in `events`, positions of followers in `consumers`. Makes no tables: migrations do."""

    def __init__(self, datastore: PostgresDatastore) -> None:
        super().__init__(datastore, events_table_name="events", tracking_table_name="consumers")
        self.sql_create_statements.clear()
        self.insert_tracking_statement = SQL(
            "INSERT INTO consumers (name, position) VALUES (%(application_name)s, %(notification_id)s) "
            "ON CONFLICT (name) DO UPDATE SET position = excluded.position "
            "WHERE consumers.position < excluded.position RETURNING position"
        ).format()
        self.max_tracking_id_statement = SQL("SELECT max(position) AS max FROM consumers WHERE name = %s").format()

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Append all or none; their positions, None for no events.

        Takes `tracking`, `namespace` (default "default") and `cause` as keywords. Raises IntegrityError when a stream's
        head is not just below its first event. Not tried again by itself: after a lost connection it may be stored.
        """
        with self.datastore.get_connection() as connection, connection.transaction():
            self._insert_events(connection.cursor(), stored_events, **kwargs)
            return self._append(connection.cursor(), stored_events, **kwargs) if stored_events else None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Not offered: the library's subscription may miss a wake-up. Follow the log with `PgSeat`."""
        raise NotSupportedError("follow the log with adapters.seat.PgSeat")

    def recorded(self, after: int, limit: int, stop: int) -> list[Recorded]:
        """The library's notifications after a position and up to `stop`, with the columns that it does not know."""
        found = self.select_notifications(after, limit, stop, inclusive_of_start=False)
        with self.datastore.get_connection() as connection:
            cursor = connection.cursor(row_factory=tuple_row, binary=True)
            cursor.execute(_ENVELOPES, ([one.id for one in found],))
            whole = [recorded(row) for row in cursor.fetchall()]
        same = [(one.id, one.originator_id, one.originator_version, one.topic, one.state) for one in found]
        if same != [(one.position, one.stream, one.version, one.type, one.body) for one in whole]:
            raise IntegrityError(f"positions {after} to {stop}: two reads of the same events differ")
        return whole

    def _append(
        self,
        cursor: Cursor[DictRow],
        stored_events: Sequence[StoredEvent],
        namespace: str = "default",
        cause: Cause | None = None,
        **_: Any,
    ) -> Sequence[int]:
        ids = [uuid7() for _ in stored_events]
        causes = [cause or Cause(str(one), str(one), "eventsourcing") for one in ids]
        columns = (
            [event.originator_id for event in stored_events],
            [event.originator_version for event in stored_events],
            [event.topic for event in stored_events],
            [event.state for event in stored_events],
            ids,
            [namespace for _ in stored_events],
            [one.correlation_id for one in causes],
            [one.causation_id for one in causes],
            [one.actor for one in causes],
            [one.traceparent for one in causes],
            [one.tracestate for one in causes],
        )
        cursor.execute(_APPEND, columns)
        row = cursor.fetchone()
        assert row is not None, "append_events returns one row"
        if row["moved"]:
            raise IntegrityError(f"streams have moved: {', '.join(map(str, row['moved']))}")
        return cast("list[int]", row["positions"])


@dataclass(frozen=True, slots=True)
class Happened:
    """One of our events in the form that the library's repository folds."""

    originator_id: UUID
    originator_version: int
    event: Event


class EventMapper(Mapper[UUID]):
    """Our stable type names and JSON bodies instead of class paths and pickled state."""

    def __init__(self) -> None:
        super().__init__(JSONTranscoder())

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        """The row of an event."""
        happened = cast("Happened", domain_event)
        event = happened.event
        return StoredEvent(happened.originator_id, happened.originator_version, event.TYPE, event.body())

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        """The event of a row."""
        event = read_event(stored_event.topic, stored_event.state)
        stream = cast("UUID", stored_event.originator_id)
        return cast("DomainEventProtocol[UUID]", Happened(stream, stored_event.originator_version, event))
