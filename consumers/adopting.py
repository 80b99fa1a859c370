"""What a worker finds when it comes up: reports it never saw committed, and containers that outlived its process."""

import logging
from collections.abc import Coroutine, Iterable
from typing import Any
from uuid import UUID

from consumers.holdings import Held, Holdings
from consumers.running import Runs
from consumers.starting import insistently
from domain.ports.running import Found
from domain.reports import FinishReport

log = logging.getLogger(__name__)


def hold_again(holdings: Holdings, reports: Iterable[FinishReport]) -> None:
    """Hold the runs that reports from the disk tell of."""
    for report in reports:
        data = report.data
        holdings.runs[data.run_id] = Held(data.task_id, data.run_id, data.fence, state="finished", finish=report)


async def adopt(runs: Runs, installation: UUID) -> list[Coroutine[Any, Any, None]]:
    """See to every container of this worker. Returns what is left to be done for each; their runs are held already.

    What runs, or has ended unreported, is gone on with. What was never started is removed, because a start of it may
    be under way; what has ended and was reported waits for its output to be stored.
    """
    left: list[Coroutine[Any, Any, None]] = []
    for found in await insistently(lambda: runs.containers.labelled(installation, runs.worker_id), runs.pause):
        labels = found.labels
        held = runs.holdings.runs.get(labels.run) or Held(labels.task, labels.run, labels.fence)
        held.labels, held.container, held.asked = labels, found.id, True
        if held.finish is None and found.state == "created":
            left.append(_remove_unless_started(runs, held, found))
            continue
        runs.holdings.runs[held.run] = held
        if held.finish is None:
            log.info("run %s: adopted, container %s %s", held.run, found.id[:12], found.state)
            left.append(runs.go_on(held, found))
        else:
            held.log_bytes = held.finish.data.log.bytes if held.finish.data.log else 0
            left.append(runs.ship_again(held, found))
    return left


async def _remove_unless_started(runs: Runs, held: Held, found: Found) -> None:
    if await insistently(lambda: runs.containers.remove(found.id), runs.pause):
        return
    now = await insistently(lambda: runs.containers.inspect(found.id), runs.pause)
    if now is not None:
        runs.holdings.runs[held.run] = held
        await runs.go_on(held, now)
