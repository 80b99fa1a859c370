"""`tally serve worker`: runs containers. Needs RabbitMQ and a container engine, and nothing else of the platform."""

import asyncio
import platform
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from functools import cache
from importlib.metadata import version
from typing import Any
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from adapters import broker, docker_client
from adapters.docker_config import Policy
from adapters.host import boot_clock, host_load
from adapters.report_spool import ReportSpool
from consumers.outfitting import Outfit, outfit
from consumers.worker import Worker
from domain.errors import Unavailable
from domain.ports.running import Containers
from domain.ports.tracing import Traces
from domain.reports import RegisterWorker
from infra.settings import Settings
from infra.topology import work_queue, worker_topology

LOOK_AGAIN_SECONDS = 5.0


@cache
def instance() -> UUID:
    """This process: a registration that is repeated opens no second generation."""
    return uuid7()


async def main(settings: Settings, traces: Traces) -> None:
    """Cancelled, it takes no more work, tells what it knows, and leaves containers running: 5 s at most."""
    own = settings.worker
    worker_id = own.id or platform.node() or "worker"
    queue = work_queue(worker_id)
    async with AsyncExitStack() as stack:
        containers = await _containers(stack, settings)
        amqp = await stack.enter_async_context(
            broker.connect(settings.amqp.url.get_secret_value(), f"worker {worker_id}")
        )

        async def declare() -> None:
            await amqp.declare(worker_topology(worker_id))

        identity = RegisterWorker(
            worker_id=worker_id,
            instance=instance(),
            engine=await containers.engine_id() if containers else f"none on {platform.node()}",
            pool=own.pool,
            slots=own.slots,
            executors=("docker", "noop") if containers else ("noop",),
            labels=own.labels,
            version=version("tallyport"),
        )
        work = amqp.subscription(broker.Intake(queue, settings.amqp.prefetch, exclusive=True, prepare=declare))
        worker = outfit(
            Outfit(
                identity=identity,
                queue=queue,
                publisher=amqp.publisher(),
                work=work,
                containers=containers,
                spool=ReportSpool(own.folder / worker_id),
                traces=traces,
                clock=boot_clock,
                new_id=uuid7,
                load=host_load,
                heartbeat=own.heartbeat.total_seconds(),
            )
        )
        await see_through(worker, None if containers else _engine_answers(settings))


async def see_through(worker: Worker, engine_found: Coroutine[Any, Any, None] | None = None) -> None:
    """Run the worker until this is cancelled. Raises Unavailable when `engine_found` returns: all is to begin anew."""
    stop = asyncio.Event()
    working = asyncio.create_task(worker.run(stop))
    looking = asyncio.create_task(engine_found or asyncio.Event().wait())
    try:
        await asyncio.wait({working, looking}, return_when=asyncio.FIRST_COMPLETED)
        if looking.done():
            looking.result()
            raise Unavailable("a container engine answers now: the worker begins anew with it")
    finally:
        looking.cancel()
        stop.set()
        await working


async def _containers(stack: AsyncExitStack, settings: Settings) -> Containers | None:
    """The engine. One that is named must answer, and is waited for; one that is only looked for may be missing."""
    try:
        return await stack.enter_async_context(_engine(settings))
    except Unavailable as error:
        if settings.worker.engine is not None:
            raise
        structlog.get_logger("worker").warning("no container engine: only noop runs are taken", error=str(error))
        return None


async def _engine_answers(settings: Settings) -> None:
    """Return when the engine that was looked for is there."""
    while True:
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        with suppress(Unavailable):
            async with _engine(settings):
                return


def _engine(settings: Settings) -> AbstractAsyncContextManager[Containers]:
    own = settings.worker
    policy = Policy(images=own.allow_images, networks=own.allow_networks)
    return docker_client.connect(own.engine, policy, own.slots)
