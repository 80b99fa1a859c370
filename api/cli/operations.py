"""Commands that show the platform itself, and take workers out of service."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.cli.exits import REFUSED, USAGE, Exit
from api.cli.output import COMMON, Column, Common, View, field, moment, rows
from api.cli.parameters import Connect

if TYPE_CHECKING:
    from api.client import Client

LOOK_SECONDS = 0.5

WORKERS = (
    Column("WORKER", field("worker_id")),
    Column("STATUS", lambda row, wide: _status(row)),
    Column("RUNS", lambda row, wide: f"{len(row['held'])}/{row['slots']}"),
    Column("POOL", field("pool")),
    Column("BEAT", lambda row, wide: _beat(row)),
    Column("GEN", field("generation")),
    Column("SINCE", moment("registered_at")),
    Column("DRAINED BY", field("drained_by"), wide=True),
    Column("REASON", field("drain_reason"), wide=True),
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

    async def drain(self, *worker_ids: str, reason: str | None = None, common: Common = COMMON) -> int:
        """Give workers nothing more; what they run, they run to the end. They stay so until they are started.

        Parameters
        ----------
        worker_ids
            Names of workers.
        reason
            Why; kept in the history.
        """
        async with self.connect(common.namespace) as client:
            await _drain(client, worker_ids, reason)
        return 0

    async def stop(self, *worker_ids: str, reason: str | None = None, common: Common = COMMON) -> int:
        """Drain workers, and wait until nothing runs there any more: then their processes, or hosts, may end.

        Parameters
        ----------
        worker_ids
            Names of workers.
        reason
            Why; kept in the history.
        """
        from api.told import patiently

        async with self.connect(common.namespace) as client:
            await _drain(client, worker_ids, reason)
            left, draining = set(worker_ids), set[str]()
            while True:
                found = await patiently(client.reading.workers)
                left -= {row["worker_id"] for row in found if row["drained"]}
                if not left:
                    return 0
                _check_none_serves(left & draining, found)
                draining |= {row["worker_id"] for row in found if row["drained_by"] is not None}
                await asyncio.sleep(LOOK_SECONDS)

    async def start(self, *worker_ids: str, common: Common = COMMON) -> int:
        """Take workers that were drained back into service.

        Parameters
        ----------
        worker_ids
            Names of workers.
        """
        _check_some(worker_ids)
        async with self.connect(common.namespace) as client:
            for worker_id in worker_ids:
                await client.start_worker(worker_id)
        return 0

    async def projections(self, *, common: Common = COMMON) -> int:
        """List the followers of the log and how far behind they are."""
        async with self.connect(common.namespace) as client:
            rows(await client.reading.projections(), PROJECTIONS, common, name="name")
        return 0


async def _drain(client: "Client", worker_ids: Sequence[str], reason: str | None) -> None:
    _check_some(worker_ids)
    for worker_id in worker_ids:
        await client.drain_worker(worker_id, reason=reason)


def _check_none_serves(draining: set[str], found: Sequence[View]) -> None:
    for row in found:
        if row["worker_id"] in draining and row["drained_by"] is None:
            raise Exit(REFUSED, f"{row['worker_id']} was taken back into service meanwhile; drain it again")


def _check_some(worker_ids: Sequence[str]) -> None:
    if not worker_ids:
        raise Exit(USAGE, "which workers? give their names, as `tally worker ls` has them")


def _status(row: View) -> str:
    return "drained" if row["status"] == "draining" and row["drained"] else str(row["status"])


def _beat(row: View) -> str:
    beat = row.get("last_beat")
    return "-" if beat is None else f"{beat['age_seconds']:.1f}s ago"
