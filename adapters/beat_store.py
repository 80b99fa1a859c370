"""Beats on PostgreSQL: each worker's last one, and the leases that it renews."""

from collections.abc import Sequence
from typing import Any

import orjson

from adapters.handler_store import LEASE_TERM, unavailable
from adapters.pipeline import Connection, Pipeline
from domain.ports.handling import Beat
from domain.reports import Heartbeat

_NOTE = (
    "INSERT INTO worker_beats AS b (worker_id, generation, beat, received_at, heard, runs, reports, cpu, memory, disk) "
    "SELECT w, g, n, clock_timestamp(), (SELECT seconds FROM lease_clock), r, "
    "ARRAY(SELECT jsonb_array_elements_text(p)::uuid), c, m, d "
    "FROM unnest(%b::text[], %b::int[], %b::bigint[], %b::text[]::jsonb[], %b::text[]::jsonb[], %b::real[], "
    "%b::real[], %b::real[]) AS u(w, g, n, r, p, c, m, d) "
    "ON CONFLICT (worker_id) DO UPDATE SET generation = excluded.generation, beat = excluded.beat, "
    "received_at = excluded.received_at, heard = excluded.heard, runs = excluded.runs, reports = excluded.reports, "
    "cpu = excluded.cpu, memory = excluded.memory, disk = excluded.disk, "
    "answered = CASE WHEN b.generation = excluded.generation THEN b.answered ELSE -1 END "
    "WHERE (b.generation, b.beat) < (excluded.generation, excluded.beat)"
)
# An array is made once. As a join it is made again for each lease, when the statistics say that there are none.
_RENEW = (
    "UPDATE leases SET accepted = true, until = (SELECT seconds FROM lease_clock) + %b "
    "WHERE run_id = ANY (ARRAY(SELECT k.run_id FROM unnest(%b::uuid[], %b::int[], %b::text[], %b::int[]) "
    "AS k(run_id, fence, worker_id, generation) "
    "JOIN leases USING (run_id, fence, worker_id) JOIN worker_beats b USING (worker_id) "
    "WHERE k.generation = b.generation AND k.generation >= leases.generation "
    "ORDER BY k.run_id FOR UPDATE OF leases))"
)
_PROBE = "UPDATE lease_clock SET answered = %b, answered_at = clock_timestamp() WHERE answered < %b"


class PgBeatStore:
    """`connection` is this store's own."""

    def __init__(self, connection: Connection) -> None:
        self._pipeline = Pipeline(connection)

    async def record(self, beats: Sequence[Beat]) -> None:
        """In one transaction: each worker's last beat, the leases its beats renew, the probe."""
        heartbeats = [beat.heartbeat for beat in beats if beat.heartbeat is not None]
        probe = max((beat.probe for beat in beats if beat.probe is not None), default=None)
        async with unavailable(), self._pipeline.transaction() as pipeline:
            if heartbeats:
                pipeline.send(_NOTE, _last_beats(heartbeats))
                held = [(run, beat) for beat in heartbeats for run in beat.runs]
                if held:
                    columns = (
                        [run.run_id for run, _ in held],
                        [run.fence for run, _ in held],
                        [beat.worker_id for _, beat in held],
                        [beat.generation for _, beat in held],
                    )
                    pipeline.send(_RENEW, (LEASE_TERM, *columns))
                pipeline.send("SELECT pg_notify('tally_beats', '')")
            if probe is not None:
                pipeline.send(_PROBE, (probe, probe))


def _last_beats(heartbeats: Sequence[Heartbeat]) -> tuple[list[Any], ...]:
    last = sorted(
        {beat.worker_id: beat for beat in sorted(heartbeats, key=lambda beat: (beat.generation, beat.beat))}.values(),
        key=lambda beat: beat.worker_id,
    )
    return (
        [beat.worker_id for beat in last],
        [beat.generation for beat in last],
        [beat.beat for beat in last],
        [orjson.dumps([run.model_dump(mode="json") for run in beat.runs]).decode() for beat in last],
        [orjson.dumps([str(report) for report in beat.reports]).decode() for beat in last],
        [_share(beat.cpu) for beat in last],
        [_share(beat.memory) for beat in last],
        [_share(beat.disk) for beat in last],
    )


def _share(given: float | None) -> float | None:
    """To a millionth: less than a `real` can hold would be an error."""
    return None if given is None else round(given, 6)
