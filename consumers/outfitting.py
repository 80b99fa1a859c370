"""A worker put together from what it is given: the parts that belong to it alone are made here."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from consumers.fitness import Fitness
from consumers.holdings import Holdings
from consumers.lives import Lives
from consumers.orders import Orders
from consumers.registering import Registration
from consumers.reporting import Reporter
from consumers.running import Runs
from consumers.shipping import LogShipper
from consumers.starting import Pause
from consumers.worker import Worker
from domain.ports.broker import Publisher, Subscription
from domain.ports.log import NewId
from domain.ports.running import BootClock, Containers, HostLoad, Spool
from domain.ports.tracing import Traces
from domain.reports import RegisterWorker


@dataclass(frozen=True, slots=True)
class Outfit:
    """What a worker is given. `queue`: its own, which `work` consumes alone. `containers` None: no engine answers.

    `heartbeat`: seconds between beats.
    """

    identity: RegisterWorker
    queue: str
    publisher: Publisher
    work: Subscription
    containers: Containers | None
    spool: Spool
    traces: Traces
    clock: BootClock
    new_id: NewId
    load: Callable[[], HostLoad] = HostLoad
    heartbeat: float = 3.0
    pause: Pause = asyncio.sleep


def outfit(given: Outfit) -> Worker:
    """A worker ready to run; it does nothing before."""
    identity, publisher, new_id = given.identity, given.publisher, given.new_id
    holdings, lives = Holdings(), Lives()
    reporter = Reporter(identity.worker_id, publisher, given.spool, new_id, given.clock, given.pause)
    shipper = LogShipper(publisher, new_id, given.pause)
    runs = None
    if given.containers is not None:
        slots = asyncio.Semaphore(identity.slots)
        fitness = Fitness(given.containers.ping, given.pause)
        runs = Runs(
            identity.worker_id,
            given.containers,
            holdings,
            reporter,
            shipper,
            given.traces,
            new_id,
            slots,
            fitness,
            given.pause,
        )
    orders = Orders(
        identity.worker_id,
        holdings,
        reporter,
        Registration(identity, given.queue, publisher, new_id, given.pause),
        runs,
        given.traces,
        given.clock,
        new_id,
        lives,
    )
    return Worker(orders, publisher, given.work, shipper, lives, given.heartbeat, given.load, given.pause)
