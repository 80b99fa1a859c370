"""What is due by time: runs past their time, leases that ran out, workers not heard; and the clock leases age on."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from consumers.deciding import Streams, Wish
from domain.errors import Unavailable
from domain.events import TaskBlocked
from domain.folding import task_of
from domain.forwarding import deadlines
from domain.lease_clock import LeaseClock, tick
from domain.ports.broker import Outgoing, Publisher
from domain.ports.conducting import Agenda, ConductorTurn, Expired, Silent, Timer
from domain.ports.log import NewId
from domain.recorded import Recorded
from domain.reports import Probe
from domain.task import CloseLease, Expire, TimeOut, Wake
from domain.task_states import Blocked
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


def awaited(agenda: Agenda, loaded: Streams) -> set[UUID]:
    """The streams of the tasks that those due by their forward references wait for."""
    due = (timer.task for timer in agenda.due if timer.kind == "forward")
    return {one for task in due for one, _, _ in _waits(loaded.get(task, ()))}


def due(timer: Timer, loaded: Streams, now: datetime) -> Wish | Timer | None:
    """A run past its time is stopped; a task that waited for the time is queued; one that waited too long ends.

    A Timer: nothing before that time. None: nothing at all.
    """
    cause = loaded[timer.task][-1].following(ACTOR)
    if timer.kind != "forward":
        return Wish(timer.task, _command(timer), cause)
    to_come = sorted((until, name) for stream, name, until in _waits(loaded[timer.task]) if not loaded.get(stream))
    if not to_come:
        return None
    until, name = to_come[0]
    if until > now:
        return replace(timer, due=until)
    return Wish(timer.task, Expire("forward-deadline", because=name), cause)


def _waits(events: Sequence[Recorded]) -> Iterator[tuple[UUID, str, datetime]]:
    """The stream and name of each task that was not there when a still blocked one was submitted, and its time."""
    if not events or not isinstance(state := task_of(events), Blocked):
        return
    streams = {need.task_id: need.stream for need in state.facts.submitted.depends_on}
    for blocked in (event for one in events if isinstance(event := one.event(), TaskBlocked)):
        for name, until in deadlines(blocked).items():
            yield streams[name], name, until


def _command(timer: Timer) -> TimeOut | Wake | Expire:
    match timer.kind:
        case "run":
            return TimeOut(timer.fence)
        case "wake":
            return Wake(timer.fence)
        case "queue":
            return Expire("queue-timeout", timer.fence)
        case _:
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
