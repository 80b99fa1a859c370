"""What is due by time: runs past their time, leases that ran out, workers not heard; and the clock leases age on."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from consumers.deciding import Streams, Wish
from domain.errors import Unavailable
from domain.lease_clock import LeaseClock, tick
from domain.ports.broker import Outgoing, Publisher
from domain.ports.conducting import Agenda, ConductorTurn, Expired, Silent, Timer
from domain.ports.log import NewId
from domain.reports import Probe
from domain.task import CloseLease, Expire, TimeOut, Wake
from domain.worker import Lose

ACTOR = "timekeeper"


@dataclass(frozen=True, slots=True)
class Overdue:
    """`clock` as it is after this round, `new_probe` if a probe with its number has to be sent."""

    clock: LeaseClock
    new_probe: bool = False
    expired: Sequence[Expired] = ()
    silent: Sequence[Silent] = ()


async def look(turn: ConductorTurn, before: LeaseClock, limit: int, again: bool) -> Overdue:
    """Advance the lease clock, and see what it leaves behind: whenever it has moved, or `again`."""
    clock = tick(before, await turn.now())
    if clock != before:
        await turn.set_clock(clock)
    if clock.seconds == before.seconds and not again:
        return Overdue(clock, clock.probe > before.probe)
    expired = await turn.expired(clock.seconds, limit)
    silent = await turn.silent(clock.seconds, limit)
    return Overdue(clock, clock.probe > before.probe, expired, silent)


def needs(agenda: Agenda, overdue: Overdue) -> set[UUID]:
    """The streams that the wishes below are decided on."""
    return {
        *(timer.task for timer in agenda.due),
        *(lease.task for lease in overdue.expired),
        *(worker.stream for worker in overdue.silent),
    }


def due(timer: Timer, loaded: Streams) -> Wish:
    """A run past its time is stopped; a task that waited for the time is queued; one that waited too long ends."""
    return Wish(timer.task, _command(timer), loaded[timer.task][-1].following(ACTOR))


def _command(timer: Timer) -> TimeOut | Wake | Expire:
    match timer.kind:
        case "run":
            return TimeOut(timer.fence)
        case "wake":
            return Wake(timer.fence)
        case "queue":
            return Expire("queue-timeout", timer.fence)
        case "expire":
            return Expire("expires-at")


def closing(lease: Expired, loaded: Streams) -> Wish:
    """A lease that ran out is closed: what follows depends on whether a beat had listed it."""
    cause = loaded[lease.task][-1].following(ACTOR)
    return Wish(lease.task, CloseLease(lease.fence, lease.accepted), cause)


def losing(worker: Silent, loaded: Streams) -> Wish:
    """A worker that was not heard for a lease term is lost."""
    cause = loaded[worker.stream][-1].following(ACTOR)
    return Wish(worker.stream, Lose(worker.generation, tuple(worker.runs)), cause)


class Probes:
    """Sends the probes through the queue of the beats, apart from the rounds: a slow broker delays none of them."""

    def __init__(self, publisher: Publisher, new_id: NewId) -> None:
        self._publisher, self._new_id = publisher, new_id
        self._wanted = asyncio.Event()
        self._number = 0

    def send(self, number: int) -> None:
        """Have probe `number` sent; one that is still on its way is not waited for."""
        self._number = number
        self._wanted.set()

    async def run(self) -> None:
        """Send what is asked for, until cancelled. A probe that cannot be sent is one that is not answered."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            probe = Probe(probe=self._number)
            message = Outgoing("task.beats", "beat", probe.TYPE, self._new_id(), probe.body(), mandatory=False)
            try:
                await self._publisher.publish([message])
            except Unavailable:
                continue
