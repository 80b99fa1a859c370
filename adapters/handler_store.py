"""The handler's store on PostgreSQL: look-ups outside, and one transaction for all that a batch changes."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, cast
from uuid import UUID

import orjson
import psycopg
from psycopg.errors import SerializationFailure

from adapters.event_log import LOAD, by_stream, event_columns
from adapters.pipeline import Connection, Pipeline
from domain.errors import Unavailable
from domain.ports.handling import CommandKey, DeadLetter, Named, NameKey, Outcome, Writes, parents, with_children
from domain.recorded import Recorded
from domain.work import Reply

LEASE_TERM = 15.0
_OUTCOMES = (
    "SELECT i.command_id, i.principal, i.digest, i.type, i.reply, i.stream, i.version, e.notification_id "
    "FROM unnest(%b::uuid[], %b::text[]) AS k(command_id, principal) JOIN inbox i USING (command_id, principal) "
    "LEFT JOIN events e ON e.originator_id = i.stream AND e.originator_version = i.version"
)
_NAMED = (
    "SELECT n.namespace, n.kind, n.name, n.stream, n.digest "
    "FROM unnest(%b::text[], %b::text[], %b::text[]) AS k(namespace, kind, name) "
    "JOIN names n USING (namespace, kind, name)"
)
_STORE = (
    "SELECT store_batch(%b::uuid[], %b::text[], %b::bytea[], %b::text[], %b::text[], %b::uuid[], %b::bigint[], "
    "%b::text[], %b::text[], %b::text[], %b::uuid[], %b::bytea[], %b::uuid[], %b::int[], %b::uuid[], %b::bigint[], "
    "%b::text[], %b::bytea[], %b::uuid[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[])"
)
_DEAD_IN = (
    "INSERT INTO dead_letters (id, queue, reason, detail, body, digest, sender, message_id, headers) "
    "SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::bytea[], %b::bytea[], %b::text[], "
    "%b::text[], %b::text[]::jsonb[]) ON CONFLICT DO NOTHING"
)
_REDELIVERED = (
    "INSERT INTO redeliveries AS r (message_id, times) SELECT unnest(%b::text[]), %b::int "
    "ON CONFLICT (message_id) DO UPDATE SET times = r.times + EXCLUDED.times, last_at = now() "
    "RETURNING message_id, times"
)
_FORGET = "DELETE FROM redeliveries WHERE message_id = ANY(%b::text[])"
_FORGET_OLD = (
    "DELETE FROM redeliveries WHERE message_id IN (SELECT message_id FROM redeliveries "
    "WHERE last_at < now() - interval '1 day' FOR UPDATE SKIP LOCKED)"
)


class PgHandlerStore:
    """`connection` is this store's own."""

    def __init__(self, connection: Connection) -> None:
        self._pipeline = Pipeline(connection)

    async def outcomes(self, keys: Sequence[CommandKey]) -> dict[CommandKey, Outcome]:
        """The outcomes already recorded for these commands; their replies name the position."""
        rows = await self._rows(_OUTCOMES, [key.command_id for key in keys], [key.principal for key in keys])
        return {outcome.key: outcome for outcome in map(_outcome, rows)}

    async def named(self, keys: Sequence[NameKey]) -> dict[NameKey, Named]:
        """The streams that these names stand for, as far as they are taken."""
        if not keys:
            return {}
        asked = [*keys, *parents(keys)]
        columns = [key.namespace for key in asked], [key.kind for key in asked], [key.name for key in asked]
        found = {NameKey(*row[:3]): Named(*row[3:]) for row in await self._rows(_NAMED, *columns)}
        return with_children(found, keys)

    async def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        """All events of these streams in order; a stream without events is left out."""
        return by_stream(await self._rows(LOAD, list(streams))) if streams else {}

    async def alive(self, worker_id: str) -> bool:
        """Whether a beat of this worker came within the last lease term."""
        rows = await self._rows(
            "SELECT 1 FROM worker_beats b, lease_clock c WHERE b.worker_id = %b AND b.heard + %b > c.seconds",
            worker_id,
            LEASE_TERM,
        )
        return bool(rows)

    async def installation(self) -> UUID:
        """The id made by the first migration, which labels this platform's containers."""
        rows = await self._rows("SELECT id FROM installation")
        return UUID(str(rows[0][0]))

    async def redelivered(self, message_ids: Sequence[str], more: int = 1) -> dict[str, int]:
        """How often each of these messages has come back unsettled, with `more` added in a transaction of its own."""
        return {row[0]: row[1] for row in await self._rows(_REDELIVERED, sorted(set(message_ids)), more)}

    async def forget(self, message_ids: Sequence[str]) -> None:
        """Forget how often these messages came back, and all that have not come back for a day."""
        async with unavailable(), self._pipeline as pipeline:
            if message_ids:
                pipeline.send(_FORGET, [list(message_ids)])
            pipeline.send(_FORGET_OLD)

    async def commit(self, writes: Writes) -> Sequence[int] | None:
        """Store all in one transaction, in order: outcomes, names, leases, events. The events' positions."""
        try:
            whole = self._pipeline.transaction() if writes.dead_letters else self._pipeline
            async with unavailable(), whole as pipeline:
                if writes.dead_letters:
                    pipeline.send(_DEAD_IN, _dead(writes.dead_letters))
                return await self._store(pipeline, writes)
        except SerializationFailure:
            return None

    async def _store(self, pipeline: Pipeline, writes: Writes) -> Sequence[int]:
        outcomes = sorted(writes.outcomes, key=lambda outcome: outcome.key)
        names = sorted(writes.names.items(), key=lambda row: row[0])
        columns = (
            [row.key.command_id for row in outcomes],
            [row.key.principal for row in outcomes],
            [row.digest for row in outcomes],
            [row.type for row in outcomes],
            [row.reply.body().decode() for row in outcomes],
            [row.stream for row in outcomes],
            [row.version for row in outcomes],
            [key.namespace for key, _ in names],
            [key.kind for key, _ in names],
            [key.name for key, _ in names],
            [named.stream for _, named in names],
            [named.digest for _, named in names],
            [run for run, _ in writes.closed],
            [fence for _, fence in writes.closed],
            *event_columns(writes.events),
        )
        ((positions,),) = await pipeline.rows(_STORE, columns)
        return cast("Sequence[int]", positions)

    async def _rows(self, statement: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        async with unavailable(), self._pipeline as pipeline:
            return await pipeline.rows(statement, values)


def _dead(dead: Sequence[DeadLetter]) -> tuple[list[Any], ...]:
    return (
        [letter.id for letter in dead],
        [letter.queue for letter in dead],
        [letter.reason for letter in dead],
        [letter.detail for letter in dead],
        [letter.body for letter in dead],
        [letter.digest for letter in dead],
        [letter.user for letter in dead],
        [letter.message_id for letter in dead],
        [orjson.dumps(letter.headers).decode() for letter in dead],
    )


@asynccontextmanager
async def unavailable() -> AsyncGenerator[None]:
    """Say Unavailable where the database is down, out of space, or gone before it answered."""
    try:
        yield
    except SerializationFailure:
        raise
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unavailable(f"database: {error}") from error


def _outcome(row: tuple[Any, ...]) -> Outcome:
    command_id, principal, digest, name, body, stream, version, position = row
    reply = Reply.model_validate_json(body)
    if position is not None:
        reply = reply.model_copy(update={"position": position})
    return Outcome(CommandKey(command_id, principal), digest, name, reply, stream, version)
