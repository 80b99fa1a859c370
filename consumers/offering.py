"""From the conductor to workers: a lease is offered as soon as it is committed.

Once, and without a word if that fails: the messenger offers again what no worker has taken.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from domain.errors import Nacked, Unavailable
from domain.messages import Cause, Message
from domain.offering import Leased, offered, parts
from domain.ports.broker import Outgoing, Publisher
from domain.ports.log import NewId
from domain.ports.tracing import Traces, messaging
from domain.work import OfferedRun, RunOffer

EXCHANGE = "task.work"
OFFER_KEPT = timedelta(seconds=12)
"""How long an offer waits in a worker's queue: after that it is made anew or no longer true."""


@dataclass(slots=True)
class Offers:
    """Sends offers beside the conductor's rounds: a slow broker delays none of them."""

    publisher: Publisher
    traces: Traces
    new_id: NewId
    _told: list[Leased] = field(default_factory=list[Leased])
    _any: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, leases: Sequence[Leased]) -> None:
        """Have the workers of these leases told; they are committed."""
        if leases:
            self._told += leases
            self._any.set()

    async def run(self) -> None:
        """Send what was told, until cancelled."""
        while True:
            await self._any.wait()
            self._any.clear()
            leases, self._told = self._told, []
            with ExitStack() as spans:
                try:
                    await self.publisher.publish(offers(leases, self.traces, self.new_id, spans))
                except (Nacked, Unavailable):
                    continue


def offers(leases: Sequence[Leased], traces: Traces, new_id: NewId, spans: ExitStack) -> list[Outgoing]:
    """One message for the leases of a worker, or several if they are many. Their spans are left open in `spans`."""
    told: dict[tuple[str, int], list[OfferedRun]] = {}
    for leased in leases:
        lease = leased.lease
        cause = spans.enter_context(sending(traces, leased.cause, lease.worker_id))
        told.setdefault((lease.worker_id, lease.generation), []).append(offered(leased, cause))
    return [
        to_worker(worker_id, RunOffer(generation=generation, runs=tuple(some)), OFFER_KEPT, new_id)
        for (worker_id, generation), runs in told.items()
        for some in parts(runs)
    ]


def sending(traces: Traces, cause: Cause, worker_id: str) -> AbstractContextManager[Cause]:
    """The step of sending something to a worker."""
    return traces.step(f"send {EXCHANGE}", cause, "producer", partial(messaging, "send", EXCHANGE, worker_id))


def to_worker(worker_id: str, message: Message, kept: timedelta, new_id: NewId, cause: Cause | None = None) -> Outgoing:
    """A message for the queue of a worker, where it waits as long as `kept`."""
    headers: dict[str, str | int | bool] = {"ce-source": "/platform"}
    if cause is not None:
        headers |= {"ce-correlationid": cause.correlation_id, "ce-causationid": cause.causation_id}
        if cause.traceparent is not None:
            headers["traceparent"] = cause.traceparent
    return Outgoing(
        exchange=EXCHANGE,
        routing_key=worker_id,
        type=message.TYPE,
        id=new_id(),
        body=message.body(),
        headers=headers,
        persistent=False,
        mandatory=False,  # a worker without a queue is not heard either: its leases run out
        expires_after=kept,
    )
