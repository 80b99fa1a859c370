"""From the log to workers: stops, an answer to each beat, and offers anew of what no worker has taken.

All are sent before they are noted, so each may be sent twice and none is left out; a worker knows a run by its fence.
A lost one costs little: what was offered and is listed by no beat is offered again after a second, and each beat that
still lists a run to be ended brings its stop again.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from consumers.following import PAGE
from consumers.offering import offers, sending, to_worker
from domain.errors import Nacked, Unavailable
from domain.events import RunTimingOut, TaskCancelling
from domain.ports.broker import Outgoing, Publisher
from domain.ports.log import NewId, Page, Seat
from domain.ports.messaging import MessengerTurn, Untaken
from domain.ports.tracing import Traces
from domain.recorded import Recorded
from domain.syncing import LastBeat, Standing, open_leases, sync
from domain.work import RunStop

TYPES = [TaskCancelling.TYPE, RunTimingOut.TYPE]
LOG_ALONE = frozenset({"tally_log"})
SEND_SECONDS = 5.0
"""A standby ends who holds a turn for 10 s."""
BEATS_AT_ONCE, OFFERS_AT_ONCE = 500, 500
UNTAKEN = timedelta(seconds=1)
"""After so long a lease that no beat has listed is offered again, and again after as long."""
FIRST = UUID(int=0)
STOP_KEPT, SYNC_KEPT = timedelta(minutes=1), timedelta(seconds=10)
"""How long each waits in a worker's queue: after that it is said anew or no longer true."""

Order: TypeAlias = TaskCancelling | RunTimingOut


@dataclass(slots=True)
class Messenger:
    """Follows the log as the consumer `messenger`, and the beats. `send_seconds`: until messages are confirmed.

    Of more untaken leases than are offered at once, the next look has those that the last one has left.
    """

    seat: Seat[MessengerTurn]
    publisher: Publisher
    traces: Traces
    new_id: NewId
    send_seconds: float = SEND_SECONDS
    _more_beats: bool = True
    _offered_at: datetime | None = None
    _offered_to: UUID = FIRST

    async def step(self, page: Page) -> bool:
        """Send what the page's events, the unanswered beats and the leases that nobody took call for. True: there may
        be more.

        Raises Unavailable, with nothing noted, if the broker does not confirm. What others log is no reason to begin a
        transaction: the position then stays behind until the next beat. Nor is it one to look for beats, unless the
        last look has left some.
        """
        look = self._more_beats or page.heard != LOG_ALONE
        if not page.events and not look:
            return False
        orders = [(recorded, _order(recorded)) for recorded in page.events]
        async with self.seat.turn(page.up_to) as turn:
            leases = [_lease(order) for _, order in orders]
            still = await turn.open(leases) if leases else dict[tuple[UUID, int], int]()
            beats = await turn.unanswered(BEATS_AT_ONCE) if look else ()
            listed = [lease for beat, standing in beats for lease in open_leases(beat, standing)]
            told = {recorded.position for recorded in page.events}
            stopping = [one for one in await turn.stopping(listed) if one.position not in told] if listed else []
            now = await turn.now()
            again = self._offered_at is None or not timedelta(0) <= now - self._offered_at < UNTAKEN
            untaken = await turn.untaken(UNTAKEN, self._offered_to, OFFERS_AT_ONCE) if again else Untaken(())
            stops = [(one, order, still[lease]) for one, order in orders if (lease := _lease(order)) in still]
            with ExitStack() as spans:
                messages = offers(untaken.leases, self.traces, self.new_id, spans)
                messages += [self._stop(*one, spans) for one in stops]
                messages += [self._stop_again(recorded) for recorded in stopping]
                messages += [self._sync(beat, standing) for beat, standing in beats]
                if messages:
                    await self._send(messages)
            if beats:
                await turn.answered([beat for beat, _ in beats])
        if again:
            self._offered_at = now
            self._offered_to = untaken.leases[-1].lease.run_id if untaken.more else FIRST
        self._more_beats = len(beats) == BEATS_AT_ONCE
        return len(page.events) >= PAGE or self._more_beats

    async def _send(self, messages: Sequence[Outgoing]) -> None:
        """What a worker's full queue refuses is lost, as by a worker that has no queue."""
        try:
            async with asyncio.timeout(self.send_seconds):
                with suppress(Nacked):
                    await self.publisher.publish(messages)
        except TimeoutError as error:
            raise Unavailable(f"broker: no confirm within {self.send_seconds:g} s") from error

    def _stop(self, recorded: Recorded, order: Order, generation: int, spans: ExitStack) -> Outgoing:
        cause = spans.enter_context(sending(self.traces, recorded.following("messenger"), order.worker_id))
        return to_worker(order.worker_id, stop(recorded, order, generation), STOP_KEPT, self.new_id, cause)

    def _stop_again(self, recorded: Recorded) -> Outgoing:
        order, cause = _order(recorded), recorded.following("messenger")
        return to_worker(order.worker_id, stop(recorded, order), SYNC_KEPT, self.new_id, cause)

    def _sync(self, beat: LastBeat, standing: Standing) -> Outgoing:
        return to_worker(beat.worker_id, sync(beat, standing), SYNC_KEPT, self.new_id)


def stop(recorded: Recorded, order: Order, generation: int | None = None) -> RunStop:
    """The order to end a run, leased to this generation of its worker."""
    return RunStop(
        task_id=recorded.stream,
        run_id=order.run_id,
        fence=order.fence,
        grace=order.grace,
        why="cancel" if isinstance(order, TaskCancelling) else "timeout",
        generation=generation,
    )


def _lease(order: Order) -> tuple[UUID, int]:
    return order.run_id, order.fence


def _order(recorded: Recorded) -> Order:
    event = recorded.event()
    assert isinstance(event, TaskCancelling | RunTimingOut), "pages hold TYPES only"
    return event
