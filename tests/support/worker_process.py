"""A worker in a process of its own, to be killed: it takes one offer and prints the container's id once it runs.

`python -m tests.support.worker_process DOCKER_HOST WORKER_ID SPOOL RUN_ID COMMAND…`
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from adapters.docker_client import connect
from adapters.docker_config import Policy
from adapters.host import boot_clock
from adapters.report_spool import ReportSpool
from consumers.outfitting import Outfit, outfit
from domain.ports.running import Containers
from tests.support.docks import Dock, Platform, offer, offered


def real(platform: Platform, containers: Containers, worker_id: str, spool: Path, who: str) -> Outfit:
    """A worker on a real engine, disk and clock, and a platform in memory."""
    given = Dock().given(platform, who)
    identity = given.identity.model_copy(update={"worker_id": worker_id})
    return replace(
        given,
        identity=identity,
        containers=containers,
        spool=ReportSpool(spool),
        clock=boot_clock,
        pause=asyncio.sleep,
    )


async def main(host: str, worker_id: str, spool: str, run: str, *command: str) -> None:
    platform = Platform()
    async with AsyncExitStack() as stack:
        containers = await stack.enter_async_context(connect(host, Policy(), runs=4))
        worker = outfit(real(platform, containers, worker_id, Path(spool), "first"))
        working = asyncio.create_task(worker.run(asyncio.Event()))
        await platform.beat(1)
        platform.tell(offer(offered(command, UUID(run))))
        print((await platform.start(UUID(run))).container_id, flush=True)
        await working


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
