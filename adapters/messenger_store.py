"""What the messenger asks of PostgreSQL: open leases, last beats, outcomes of reports, ends of stored output."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, LiteralString
from uuid import UUID

from adapters.event_log import COLUMNS, recorded
from adapters.seat import RepeatablePgTurn
from domain.events import (
    RunLeased,
    RunTimingOut,
    TaskCancelling,
    TaskFilled,
    TaskSubmitted,
    WorkerLost,
    WorkerRegistered,
)
from domain.ids import derived_id
from domain.offering import OF_A_RUN, Leased
from domain.ports.messaging import UNTAKEN_BYTES, Untaken
from domain.recorded import Recorded
from domain.reports import HeldRun
from domain.syncing import LastBeat, Standing

_OPEN = (
    "SELECT run_id, fence, generation FROM unnest(%b::uuid[], %b::int[]) AS w(run_id, fence) "
    "JOIN leases USING (run_id, fence)"
)
_UNTAKEN = (
    f"SELECT {COLUMNS} FROM leases l, LATERAL ("
    f"SELECT {COLUMNS} FROM events WHERE originator_id = l.task AND topic = ANY(%b) "
    "ORDER BY originator_version DESC LIMIT 1) AS last "
    "WHERE NOT l.accepted AND l.run_id > %b AND last.topic = %b AND last.recorded_at <= now() - %b::interval "
    "ORDER BY l.run_id LIMIT %b"
)
_BODIES = (
    "SELECT originator_id, originator_version, state FROM ("
    "SELECT originator_id, originator_version, state, "
    "sum(octet_length(state)) OVER (ORDER BY place) - sum(octet_length(state)) OVER (PARTITION BY place) AS before "
    "FROM events JOIN unnest(%b::uuid[], %b::bigint[], %b::int[]) AS w(task, version, place) "
    "ON originator_id = w.task AND originator_version = w.version"
    ") AS weighed WHERE before < %b"
)
"""What is beyond the page is never fetched from where PostgreSQL keeps large values: only its size is read."""
_STOPPING = (
    f"SELECT DISTINCT ON (originator_id) {COLUMNS}, w.run_id, w.fence FROM unnest(%b::uuid[], %b::int[]) "
    "AS w(run_id, fence) JOIN leases l USING (run_id, fence) JOIN events ON originator_id = l.task "
    "WHERE topic = ANY(%b) ORDER BY originator_id, originator_version DESC"
)
_UNANSWERED = (
    "SELECT worker_id, generation, beat, runs, reports FROM worker_beats WHERE answered < beat "
    "ORDER BY received_at LIMIT %b"
)
_ANSWERED = (
    "UPDATE worker_beats b SET answered = held.told FROM ("
    "SELECT b.worker_id, u.beat AS told FROM unnest(%b::text[], %b::int[], %b::bigint[]) "
    "AS u(worker_id, generation, beat) JOIN worker_beats b USING (worker_id, generation) "
    'WHERE b.answered < u.beat ORDER BY b.worker_id COLLATE "C" FOR UPDATE OF b'
    ") AS held WHERE b.worker_id = held.worker_id"
)
"""In the order in which the beat store locks them."""
_LEASES = "SELECT worker_id, run_id, fence FROM leases WHERE worker_id = ANY(%b)"
_COMMITTED = (
    "SELECT command_id FROM inbox JOIN unnest(%b::uuid[], %b::text[]) AS r(command_id, principal) "
    "USING (command_id, principal)"
)
_LIVES = (
    "SELECT DISTINCT ON (originator_id) originator_id, topic, state FROM events WHERE originator_id = ANY(%b) "
    "AND topic = ANY(%b) ORDER BY originator_id, originator_version DESC"
)
_STORED = "SELECT run_id, sum(bytes)::bigint FROM log_ends WHERE run_id = ANY(%b) GROUP BY run_id"


class MessengerPgTurn(RepeatablePgTurn):
    """A turn of the messenger."""

    async def open(self, leases: Sequence[tuple[UUID, int]]) -> Mapping[tuple[UUID, int], int]:
        """Those of these leases (run, fence) that are open now, with the generation of the worker that each is for."""
        rows = await self._all(_OPEN, [run for run, _ in leases], [fence for _, fence in leases])
        return {(run, fence): generation for run, fence, generation in rows}

    async def untaken(self, since: timedelta, after: UUID, limit: int) -> Untaken:
        """The open leases that are older than `since`, of runs that no beat has listed and of which nothing else is
        known, no start, no end, nor that they are to end; by run, at most `limit` after the run `after`, and no more
        once what their tasks run says UNTAKEN_BYTES."""
        rows = await self._all(_UNTAKEN, list(OF_A_RUN), after, RunLeased.TYPE, since, limit)
        leases = [(found := recorded(row), _lease(found)) for row in rows]
        bodies = await self._bodies(leases)
        page = [_leased(*one, bodies) for one in leases if (one[0].stream, 1) in bodies]
        return Untaken(page, len(rows) == limit or len(page) < len(rows))

    async def _bodies(self, leases: Sequence[tuple[Recorded, RunLeased]]) -> dict[tuple[UUID, int], bytes]:
        """What was submitted, and what its templates became if it had any: by task and version, for as many of these
        leases, from the first on, as one page holds."""
        wanted = [
            (found.stream, version, place)
            for place, (found, lease) in enumerate(leases)
            for version in (1, lease.filled)
            if version is not None
        ]
        if not wanted:
            return {}
        rows = await self._all(_BODIES, *map(list, zip(*wanted, strict=True)), UNTAKEN_BYTES)
        return {(task, version): body for task, version, body in rows}

    async def stopping(self, leases: Sequence[tuple[UUID, int]]) -> Sequence[Recorded]:
        """For those of these leases that are open: the last event that ordered the run's end."""
        types = [TaskCancelling.TYPE, RunTimingOut.TYPE]
        rows = await self._all(_STOPPING, [run for run, _ in leases], [fence for _, fence in leases], types)
        return [found for *row, run, fence in rows if _ends(found := recorded(tuple(row)), run, fence)]

    async def unanswered(self, limit: int) -> Sequence[tuple[LastBeat, Standing]]:
        """Last beats without an answer, those that wait longest first, with what is known of their workers."""
        beats = [
            LastBeat(worker, generation, beat, tuple(map(HeldRun.model_validate, runs)), tuple(reports))
            for worker, generation, beat, runs, reports in await self._all(_UNANSWERED, limit)
        ]
        return list(zip(beats, await self._standings(beats), strict=True)) if beats else []

    async def answered(self, beats: Sequence[LastBeat]) -> None:
        """These beats have their answer. A later beat of the same worker still waits for its own."""
        columns = (
            [beat.worker_id for beat in beats],
            [beat.generation for beat in beats],
            [beat.beat for beat in beats],
        )
        self.pipeline.send(_ANSWERED, columns)

    async def _standings(self, beats: Sequence[LastBeat]) -> Iterable[Standing]:
        workers = [beat.worker_id for beat in beats]
        leases: dict[str, dict[UUID, int]] = {}
        for worker, run, fence in await self._all(_LEASES, workers):
            leases.setdefault(worker, {})[run] = fence
        generations = await self._generations(workers)
        asked = [(report, f"worker:{beat.worker_id}") for beat in beats for report in beat.reports]
        reports = [report for report, _ in asked]
        committed = await self._all(_COMMITTED, reports, [who for _, who in asked]) if asked else ()
        runs = [run.run_id for beat in beats for run in beat.runs]
        stored = dict(await self._all(_STORED, runs)) if runs else {}
        known = frozenset(report for (report,) in committed)
        return [
            Standing(
                generations.get(beat.worker_id),
                leases.get(beat.worker_id, {}),
                known.intersection(beat.reports),
                {run.run_id: stored[run.run_id] for run in beat.runs if run.run_id in stored},
            )
            for beat in beats
        ]

    async def _generations(self, workers: Sequence[str]) -> dict[str, int]:
        """The current generation of each worker that has one: it was not lost since it registered last."""
        streams = {derived_id(UUID(int=0), f"worker:{worker}"): worker for worker in workers}
        return {
            streams[stream]: WorkerRegistered.model_validate_json(body).generation
            for stream, topic, body in await self._all(_LIVES, list(streams), [WorkerRegistered.TYPE, WorkerLost.TYPE])
            if topic == WorkerRegistered.TYPE
        }

    async def _all(self, statement: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
        return await self.pipeline.rows(statement, parameters)


def _lease(found: Recorded) -> RunLeased:
    lease = found.event()
    assert isinstance(lease, RunLeased), "other types are not asked for"
    return lease


def _leased(found: Recorded, lease: RunLeased, bodies: Mapping[tuple[UUID, int], bytes]) -> Leased:
    submitted = TaskSubmitted.model_validate_json(bodies[found.stream, 1])
    filled = None if lease.filled is None else TaskFilled.model_validate_json(bodies[found.stream, lease.filled])
    work = submitted.work if filled is None else filled
    return Leased(found.stream, found.namespace, lease, submitted, work, found.following("messenger"))


def _ends(order: Recorded, run: UUID, fence: int) -> bool:
    event = order.event()
    assert isinstance(event, TaskCancelling | RunTimingOut), "other types are not asked for"
    return (event.run_id, event.fence) == (run, fence)
