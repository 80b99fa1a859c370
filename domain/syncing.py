"""What a worker is told when it beats. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from domain.reports import HeldRun
from domain.work import WorkerSync


@dataclass(frozen=True, slots=True)
class LastBeat:
    """A worker's last beat, not answered yet. `reports`: ids it wants to see named as committed."""

    worker_id: str
    generation: int
    beat: int
    runs: tuple[HeldRun, ...] = ()
    reports: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """What the platform knows of that worker.

    `generation`: the current one, None if it never registered or was lost since. `leases`: its open ones, run -> fence.
    `committed`: those of the reports that have their outcome. `logs_stored`: bytes of both streams of the runs listed.
    """

    generation: int | None = None
    leases: Mapping[UUID, int] = field(default_factory=dict[UUID, int])
    committed: Collection[UUID] = frozenset()
    logs_stored: Mapping[UUID, int] = field(default_factory=dict[UUID, int])


def sync(beat: LastBeat, standing: Standing) -> WorkerSync:
    """The answer to `beat`. An old or lost generation holds nothing: it is told to register again.

    A run listed under another fence than its open lease's is neither valid nor to be stopped: its new offer is on
    its way to this worker.
    """
    current = standing.generation == beat.generation
    leases: Mapping[UUID, int] = standing.leases if current else {}
    return WorkerSync(
        generation=beat.generation,
        beat=beat.beat,
        valid=tuple(run.run_id for run in beat.runs if leases.get(run.run_id) == run.fence),
        stop=tuple(run.run_id for run in beat.runs if current and run.run_id not in leases and run.state != "finished"),
        committed=tuple(report for report in beat.reports if report in standing.committed),
        logs_stored={run.run_id: standing.logs_stored.get(run.run_id, 0) for run in beat.runs},
        register_again=not current,
    )


def open_leases(beat: LastBeat, standing: Standing) -> list[tuple[UUID, int]]:
    """The leases (run, fence) that are open for runs of this beat, whatever fence it lists them under."""
    if standing.generation != beat.generation:
        return []
    return [(run.run_id, standing.leases[run.run_id]) for run in beat.runs if run.run_id in standing.leases]
