"""A worker: it registers, adopts what outlived it, beats, and obeys. It stops without stopping what it runs."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from consumers.adopting import adopt, hold_again
from consumers.holdings import LISTED
from consumers.lives import Lives
from consumers.orders import Orders
from consumers.shipping import LogShipper
from consumers.starting import Pause, Start
from domain.errors import Unavailable, Unroutable
from domain.ports.broker import Delivery, Outgoing, Publisher, Subscription
from domain.ports.running import HostLoad
from domain.reports import Heartbeat
from domain.work import Reply

BATCH = 256
BEAT_LIVES = timedelta(seconds=15)
LAST_WORDS_SECONDS = 3.0
SETTLE_SECONDS, SETTLE_TRIES = 0.5, 6
"""After the end of a run was told: at the first try it is mostly committed and its output stored, after the last one
the next beat will do."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Worker:
    """One worker process. `heartbeat`: seconds between beats; `load`: what the host is busy with."""

    orders: Orders
    publisher: Publisher
    work: Subscription
    shipper: LogShipper
    lives: Lives
    heartbeat: float = 3.0
    load: Callable[[], HostLoad] = HostLoad
    pause: Pause = asyncio.sleep
    beats: int = 0
    early: list[Delivery] | None = field(default_factory=list[Delivery])

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then tell what is known, within 3 s, and leave containers running.

        Raises WorkerIdTaken if the platform refuses the registration.
        """
        reporter = self.orders.reporter
        loops = [asyncio.create_task(loop) for loop in (reporter.run(), self.shipper.run(), self._intake())]
        if self.orders.runs is not None:
            loops.append(asyncio.create_task(self.orders.runs.fitness.run()))
        up = asyncio.create_task(self._come_up())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({up, stopped, *loops}, return_when=asyncio.FIRST_COMPLETED)
            if up.done():
                up.result()
                loops += [asyncio.create_task(loop) for loop in (self._beat_on(), self._beat_after_ends())]
            await asyncio.wait({stopped, *loops}, return_when=asyncio.FIRST_COMPLETED)
            for loop in loops:
                if loop.done():
                    loop.result()
            loops[2].cancel()
            await self._last_words()
        finally:
            tasks: list[asyncio.Task[Any]] = [*loops, up, stopped]
            for task in tasks:
                task.cancel()
            await self.lives.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def beat(self) -> None:
        """Say what is held, and which reports wait to be named as committed."""
        self.beats += 1
        orders, load = self.orders, self.load()
        now = orders.clock()
        runs = orders.holdings.listed(now)
        heartbeat = Heartbeat(
            worker_id=orders.worker_id,
            generation=orders.generation,
            beat=self.beats,
            runs=runs,
            reports=tuple(orders.reporter.waiting)[:LISTED],
            cpu=load.cpu,
            memory=load.memory,
            disk=load.disk,
        )
        body, sent = heartbeat.body(), orders.new_id()
        orders.holdings.beat_sent(self.beats, now, (run.run_id for run in runs))
        message = Outgoing("task.beats", "beat", heartbeat.TYPE, sent, body, expires_after=BEAT_LIVES)
        await self.publisher.publish([message])

    def obey(self, deliveries: Sequence[Delivery]) -> None:
        """Obey messages, in order; before this worker is up, only the answer to its registration."""
        for delivery in deliveries:
            if self.early is None or delivery.type == Reply.TYPE:
                self.orders.obey(delivery)
            else:
                self.early.append(delivery)

    async def _come_up(self) -> None:
        orders, runs = self.orders, self.orders.runs
        installation = await self._register()
        hold_again(orders.holdings, await orders.reporter.restore())
        left = await adopt(runs, installation) if runs is not None else []
        for life in left:
            self.lives(life)
        early, self.early = self.early or [], None
        self.obey(early)

    async def _register(self) -> UUID:
        orders = self.orders
        orders.register_again.clear()
        reply = await orders.registration()
        assert reply.generation is not None, "an accepted registration names its generation"
        assert reply.installation is not None, "an accepted registration names the installation"
        orders.generation = orders.reporter.generation = reply.generation
        orders.registered_at = self.beats
        if orders.runs is not None:
            orders.start = Start(
                orders.runs.containers,
                orders.clock,
                orders.worker_id,
                reply.installation,
                reply.generation,
                orders.runs.fitness,
                self.pause,
            )
        log.info("worker %s: generation %d", orders.worker_id, reply.generation)
        return reply.installation

    async def _beat_on(self) -> None:
        orders = self.orders
        while True:
            orders.beat_now.clear()
            if orders.register_again.is_set():
                await self._register()
            orders.reporter.send_overdue()
            try:
                await self.beat()
            except (Unavailable, Unroutable) as error:
                log.warning("beat %d was not heard: %s", self.beats, error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.heartbeat):  # wait_for may lose a cancellation
                    await orders.beat_now.wait()

    async def _beat_after_ends(self) -> None:
        """The answer to a beat lets containers go whose end is committed, without their waiting for the next one."""
        orders = self.orders
        while True:
            await orders.reporter.ends_told.wait()
            orders.reporter.ends_told.clear()
            for _ in range(SETTLE_TRIES):
                await self.pause(SETTLE_SECONDS)
                if not orders.holdings.containers_wait():
                    break
                orders.beat_now.set()

    async def _intake(self) -> None:
        while True:
            try:
                deliveries = await self.work.batch(BATCH)
                self.obey(deliveries)
                await self.work.ack(deliveries[-1])
            except Unavailable as error:
                log.warning("no work comes in: %s", error)
                await self.pause(1.0)

    async def _last_words(self) -> None:
        """No more work; beats go on while what is known is told."""
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self.work.pause()
                await self.orders.reporter.sent()
                await self.shipper.sent()
