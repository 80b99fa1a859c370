"""What every process shares: its telemetry, its end on SIGTERM, and waiting out an outage."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeAlias, cast

import structlog

from domain.errors import Superseded, Unavailable
from domain.ports.tracing import Traces
from infra.settings import Settings
from infra.telemetry import telemetry

Main: TypeAlias = Callable[[Settings, Traces], Awaitable[None]]
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
BEHIND, NICE = frozenset({"projector", "relay", "notifier", "logkeeper"}), 5
"""What only tells of a run lets those go first that bring it about, where processors are scarce."""


def run(name: str, main: Main, settings: Settings) -> None:
    """Run `main` until SIGTERM or SIGINT. An outage starts it again after a pause; any other failure ends the process.

    Raises Superseded when another process has taken this one's place.
    """
    import uvloop

    if name in BEHIND:
        os.nice(NICE)
    with telemetry(settings, name) as traces:
        uvloop.run(_until_stopped(name, main, settings, traces))


async def _until_stopped(name: str, main: Main, settings: Settings, traces: Traces) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    log = structlog.get_logger(name)
    log.info("started")
    await until(stop, [through_outages(main, settings, traces, log)])
    log.info("stopped")


async def through_outages(main: Main, settings: Settings, traces: Traces, log: Any) -> None:
    """Run `main`, again after a pause when a server is down or gone. Raises whatever else it fails with."""
    pause = FIRST_PAUSE
    while True:
        started = asyncio.get_running_loop().time()
        try:
            return await main(settings, traces)
        except Superseded:
            raise
        except Exception as error:
            if not passing(error):
                raise
            if asyncio.get_running_loop().time() - started > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            log.warning("unavailable", error=str(error), again_in=round(pause, 1))
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, LONGEST_PAUSE)


def passing(error: BaseException) -> bool:
    """Whether `error` says that a server is down or gone, so that the same may work later."""
    import psycopg

    if isinstance(error, BaseExceptionGroup):
        return all(map(passing, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    return isinstance(error, Unavailable | psycopg.OperationalError | ConnectionError)


async def until(stop: asyncio.Event, work: list[Coroutine[Any, Any, None]]) -> None:
    """Run all of `work` until `stop` is set, then cancel it; the first failure cancels the rest and is raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in work]
    stopped = asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopped}:
            task.result()
    finally:
        for task in (*tasks, stopped):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one fails; that failure alone is raised."""
    await until(asyncio.Event(), list(work))
