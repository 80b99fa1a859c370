"""Commands that show the platform itself."""

from dataclasses import dataclass

from api.cli.output import COMMON, Column, Common, View, field, moment, rows
from api.cli.parameters import Connect

WORKERS = (
    Column("WORKER", field("worker_id")),
    Column("STATUS", field("status")),
    Column("RUNS", lambda row, wide: f"{len(row['held'])}/{row['slots']}"),
    Column("POOL", field("pool")),
    Column("BEAT", lambda row, wide: _beat(row)),
    Column("GEN", field("generation")),
    Column("SINCE", moment("registered_at")),
    Column("ENGINE", field("engine"), wide=True),
    Column("VERSION", field("version"), wide=True),
)
PROJECTIONS = (
    Column("NAME", field("name")),
    Column("POSITION", field("position")),
    Column("BEHIND", field("lag")),
    Column("SECONDS", field("lag_seconds")),
    Column("STAMPED", moment("stamped_at"), wide=True),
)


@dataclass(frozen=True, slots=True)
class OperationCommands:
    """Each method is a command; its parameters are the command line's."""

    connect: Connect

    async def workers(self, *, common: Common = COMMON) -> int:
        """List the workers, their slots and their last beats."""
        async with self.connect(common.namespace) as client:
            rows(await client.reading.workers(), WORKERS, common, name="worker_id")
        return 0

    async def projections(self, *, common: Common = COMMON) -> int:
        """List the followers of the log and how far behind they are."""
        async with self.connect(common.namespace) as client:
            rows(await client.reading.projections(), PROJECTIONS, common, name="name")
        return 0


def _beat(row: View) -> str:
    beat = row.get("last_beat")
    return "-" if beat is None else f"{beat['age_seconds']:.1f}s ago"
