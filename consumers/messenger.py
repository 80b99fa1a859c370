"""From the log to workers: offers, stops, and an answer to each beat.

All are sent before they are noted, so each may be sent twice and none is left out; a worker knows a run by its fence.
A lost one costs little: the log offers again, and each beat that still lists a run to be ended brings its stop again.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeAlias
from uuid import UUID

from consumers.following import PAGE
from domain.errors import Unavailable
from domain.events import RunLeased, RunTimingOut, TaskCancelling, TaskFilled, TaskSubmitted
from domain.messages import Cause, Message, compact
from domain.ports.broker import Outgoing, Publisher
from domain.ports.log import NewId, Page, Seat
from domain.ports.messaging import MessengerTurn
from domain.ports.tracing import Traces, messaging
from domain.recorded import Recorded
from domain.retrying import instead
from domain.syncing import LastBeat, Standing, open_leases, sync
from domain.work import OfferedRun, RunOffer, RunSpec, RunStop

EXCHANGE = "task.work"
TYPES = [RunLeased.TYPE, TaskCancelling.TYPE, RunTimingOut.TYPE]
LOG_ALONE = frozenset({"tally_log"})
SEND_SECONDS = 5.0
"""A standby ends who holds a turn for 10 s."""
RUNS_IN_AN_OFFER, OFFER_CHARACTERS, BEATS_AT_ONCE = 100, 256 << 10, 500
OFFER_KEPT, STOP_KEPT, SYNC_KEPT = timedelta(seconds=12), timedelta(minutes=1), timedelta(seconds=10)
"""How long each waits in a worker's queue: after that it is said anew or no longer true."""

Order: TypeAlias = RunLeased | TaskCancelling | RunTimingOut


@dataclass(slots=True)
class Messenger:
    """Follows the log as the consumer `messenger`, and the beats. `send_seconds`: until messages are confirmed."""

    seat: Seat[MessengerTurn]
    publisher: Publisher
    traces: Traces
    new_id: NewId
    send_seconds: float = SEND_SECONDS
    _more_beats: bool = True

    async def step(self, page: Page) -> bool:
        """Send what the page's events and the unanswered beats call for. True: there may be more.

        Raises Unavailable, with nothing noted, if the broker does not confirm. What others log is no reason to begin a
        transaction: the position then stays behind until the next beat. Nor is it one to look for beats, unless the
        last look has left some.
        """
        look = self._more_beats or page.heard != LOG_ALONE
        if not page.events and not look:
            return False
        orders = [(recorded, _order(recorded)) for recorded in page.events]
        async with self.seat.turn(page.up_to) as turn:
            tasks = await turn.leased([(order.run_id, order.fence) for _, order in orders]) if orders else {}
            filled = await turn.filled(where) if (where := _filled(orders)) else {}
            beats = await turn.unanswered(BEATS_AT_ONCE) if look else ()
            listed = [lease for beat, standing in beats for lease in open_leases(beat, standing)]
            told = {recorded.position for recorded in page.events}
            stopping = [one for one in await turn.stopping(listed) if one.position not in told] if listed else []
            with ExitStack() as spans:
                current = [(recorded, order) for recorded, order in orders if (order.run_id, order.fence) in tasks]
                messages = self._offers_and_stops(current, tasks, filled, spans)
                messages += [self._stop_again(recorded) for recorded in stopping]
                messages += [self._sync(beat, standing) for beat, standing in beats]
                if messages:
                    await self._send(messages)
            if beats:
                await turn.answered([beat for beat, _ in beats])
        self._more_beats = len(beats) == BEATS_AT_ONCE
        return len(page.events) >= PAGE or self._more_beats

    def _offers_and_stops(
        self,
        orders: Sequence[tuple[Recorded, Order]],
        tasks: Mapping[tuple[UUID, int], TaskSubmitted],
        filled: Mapping[UUID, TaskFilled],
        spans: ExitStack,
    ) -> list[Outgoing]:
        """Offers first: a stop then finds the run that it ends."""
        offers: dict[tuple[str, int], list[OfferedRun]] = {}
        stops: list[Outgoing] = []
        for recorded, order in orders:
            described = partial(messaging, "send", EXCHANGE, order.worker_id)
            step = self.traces.step(f"send {EXCHANGE}", recorded.following("messenger"), "producer", described)
            cause = spans.enter_context(step)
            if isinstance(order, RunLeased):
                task = tasks[order.run_id, order.fence]
                run = offered(recorded, task, filled.get(recorded.stream) if order.filled else None, cause)
                offers.setdefault((order.worker_id, order.generation), []).append(run)
            else:
                stops.append(self._message(order.worker_id, stop(recorded, order), STOP_KEPT, cause))
        return [
            self._message(worker_id, RunOffer(generation=generation, runs=tuple(some)), OFFER_KEPT)
            for (worker_id, generation), runs in offers.items()
            for some in parts(runs)
        ] + stops

    async def _send(self, messages: Sequence[Outgoing]) -> None:
        try:
            async with asyncio.timeout(self.send_seconds):
                await self.publisher.publish(messages)
        except TimeoutError as error:
            raise Unavailable(f"broker: no confirm within {self.send_seconds:g} s") from error

    def _stop_again(self, recorded: Recorded) -> Outgoing:
        order = _order(recorded)
        assert not isinstance(order, RunLeased), "it orders an end"
        return self._message(order.worker_id, stop(recorded, order), SYNC_KEPT, recorded.following("messenger"))

    def _sync(self, beat: LastBeat, standing: Standing) -> Outgoing:
        return self._message(beat.worker_id, sync(beat, standing), SYNC_KEPT)

    def _message(self, worker_id: str, message: Message, kept: timedelta, cause: Cause | None = None) -> Outgoing:
        headers: dict[str, str | int | bool] = {"ce-source": "/messenger"}
        if cause is not None:
            headers |= {"ce-correlationid": cause.correlation_id, "ce-causationid": cause.causation_id}
            if cause.traceparent is not None:
                headers["traceparent"] = cause.traceparent
        return Outgoing(
            exchange=EXCHANGE,
            routing_key=worker_id,
            type=message.TYPE,
            id=self.new_id(),
            body=message.body(),
            headers=headers,
            persistent=False,
            mandatory=False,  # a worker without a queue is not heard either: its leases run out
            expires_after=kept,
        )


def offered(recorded: Recorded, task: TaskSubmitted, filled: TaskFilled | None, cause: Cause) -> OfferedRun:
    """A lease as its worker is told of it."""
    lease = _order(recorded)
    assert isinstance(lease, RunLeased), "what is offered was leased"
    spec, work = task.spec, filled or task.work
    container = work.container
    if lease.fallback and container and work.fallback:
        container = instead(container, work.fallback)
    return OfferedRun(
        task_id=recorded.stream,
        run_id=lease.run_id,
        run=lease.run,
        fence=lease.fence,
        beat=lease.beat,
        within=lease.within,
        spec=RunSpec(
            namespace=recorded.namespace,
            name=spec.name or task.task_id,
            executor=spec.executor,
            container=container,
            input=work.input,
            timeouts=task.timeouts.model_copy(update={"queue": None}),
            workflow_id=task.workflow_id,
            workflow=task.workflow,
        ),
        traceparent=cause.traceparent,
        tracestate=cause.tracestate,
    )


def stop(recorded: Recorded, order: TaskCancelling | RunTimingOut) -> RunStop:
    """The order to end a run."""
    return RunStop(
        task_id=recorded.stream,
        run_id=order.run_id,
        fence=order.fence,
        grace=order.grace,
        why="cancel" if isinstance(order, TaskCancelling) else "timeout",
    )


def parts(runs: Sequence[OfferedRun]) -> Iterator[list[OfferedRun]]:
    """`runs` in order, as many together as one message may carry."""
    part, size = list[OfferedRun](), 0
    for run in runs:
        weight = _weight(run.spec)
        if part and (len(part) == RUNS_IN_AN_OFFER or size + weight > OFFER_CHARACTERS):
            yield part
            part, size = [], 0
        part.append(run)
        size += weight
    if part:
        yield part


def _weight(spec: RunSpec) -> int:
    """Characters of what its user wrote into it."""
    container = spec.container
    texts = (*(container.command or ()), *container.env.values()) if container is not None else ()
    return sum(map(len, texts)) + (len(compact(spec.input)) if spec.input is not None else 0)


def _filled(orders: Sequence[tuple[Recorded, Order]]) -> list[tuple[UUID, int]]:
    """Tasks among these that were leased after their templates were filled, and the version at which they were."""
    leases = [(recorded.stream, order) for recorded, order in orders if isinstance(order, RunLeased)]
    return [(task, order.filled) for task, order in leases if order.filled is not None]


def _order(recorded: Recorded) -> Order:
    event = recorded.event()
    assert isinstance(event, RunLeased | TaskCancelling | RunTimingOut), "pages hold TYPES only"
    return event
