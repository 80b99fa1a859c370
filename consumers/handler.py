"""Commands and reports in, events out: a batch is read, decided, stored in one transaction, answered, settled."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from time import thread_time
from uuid import UUID

from consumers.batches import Batch, Given
from consumers.dead_letters import dead_letter
from consumers.items import Item, Lookups
from consumers.promising import look_upstream
from domain.errors import (
    IdReused,
    NotFound,
    Rejected,
    Unavailable,
    UnknownDependency,
    UnknownTaskType,
    Unreadable,
    Unroutable,
)
from domain.input_schema import Effort
from domain.letters import Letter
from domain.messages import Cause
from domain.ports.broker import Delivery, Outgoing, Publisher
from domain.ports.handling import CommandKey, DeadLetter, HandlerStore, Outcome
from domain.ports.log import Clock
from domain.ports.tracing import Attributes, Traces, messaging
from domain.recorded import NewEvent
from domain.work import Reply

log = logging.getLogger(__name__)

EVENTS_AT_ONCE = 1000
REPLY_SECONDS, REPLY_FAILURES = 2.0, 3
OVERTAKING = timedelta(seconds=2)
"""How long a command may name a task that is not there yet: handlers may overtake each other."""
APPEND: Attributes = {
    "db.system.name": "postgresql",
    "db.operation.name": "append_events",
    "db.collection.name": "events",
}
BREATH_SECONDS = 0.1
"""Of the processor, after which others of this process have their turn, such as those that tell the broker it lives."""
TRIES = 3
"""Decisions of a whole batch before it is split: others keep writing to the same streams."""


@dataclass(frozen=True, slots=True)
class Handler:
    """Handles the deliveries of one queue. `queue` names it in spans and dead letters."""

    queue: str
    store: HandlerStore
    publisher: Publisher
    traces: Traces
    clock: Clock
    given: Given
    read: Callable[[Delivery], Letter]
    items: Callable[[Letter], list[Item]]

    async def __call__(self, deliveries: Sequence[Delivery], waited: timedelta = OVERTAKING) -> list[Delivery]:
        """Give each delivery its outcome, and answer it. Returns those that name what is not there yet.

        `waited`: how long they have waited for that already; after 2 s they are refused instead.
        """
        work: list[tuple[Delivery, list[Item]]] = []
        dead: list[DeadLetter] = []
        for delivery in deliveries:
            try:
                work.append((delivery, self.items(self.read(delivery))))
            except Unreadable as unreadable:
                dead.append(dead_letter(self.given.new_id(), self.queue, delivery, unreadable))
        items = [item for _, items in work for item in items]
        pass_ = Pass(self, patient=waited < OVERTAKING)
        if dead:
            await pass_.settle((), dead)
        for part in parts(items):
            await pass_.settle(part)
        await self._answer([answer(self.given, letter, reply) for letter, reply in pass_.replies])
        return [delivery for delivery, items in work if any(item.key in pass_.postponed for item in items)]

    async def _answer(self, replies: Sequence[Outgoing]) -> None:
        """Send replies as well as it goes: what was decided is stored, and a repeated command gets its outcome again.

        One `reply_to` that the broker takes amiss costs the connection: the others are then sent one by one.
        """
        if not replies or await self._sent(replies) or len(replies) == 1:
            return
        failures = 0
        for reply in replies:
            failures += not await self._sent([reply])
            if failures == REPLY_FAILURES:
                return

    async def _sent(self, replies: Sequence[Outgoing]) -> bool:
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                await self.publisher.publish(replies)
        except (Unavailable, Unroutable, TimeoutError) as error:
            log.warning("%d replies were not sent: %s", len(replies), error)
            return False
        return True


def parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """`items` in order, in parts of at most 1,000 expected events; one item may exceed that."""
    part: list[Item] = []
    events = 0
    for item in items:
        if part and events + item.events > EVENTS_AT_ONCE:
            yield part
            part, events = [], 0
        part.append(item)
        events += item.events
    if part:
        yield part


@dataclass(slots=True)
class Pass:
    """One pass over a batch. `patient`: what names something unknown is postponed, not refused."""

    handler: Handler
    patient: bool
    replies: list[tuple[Letter, Reply]] = field(default_factory=list[tuple[Letter, Reply]])
    postponed: set[CommandKey] = field(default_factory=set[CommandKey])
    _breathed: float = field(default_factory=thread_time)

    async def settle(self, items: Sequence[Item], dead: Sequence[DeadLetter] = ()) -> None:
        """Store an outcome for every item that is not postponed. Splits the batch if others keep overtaking it."""
        tries = 0
        while not await self._try(items, dead, careful=tries > 0):
            tries += 1
            if tries >= TRIES and len(items) > 1:
                middle = len(items) // 2
                await self.settle(items[:middle], dead)
                await self.settle(items[middle:])
                return
            await asyncio.sleep(0)

    async def _try(self, items: Sequence[Item], dead: Sequence[DeadLetter], careful: bool) -> bool:
        store = self.handler.store
        known = await store.outcomes([item.key for item in items]) if careful else {}
        batch = await self._load([item for item in items if item.key not in known], careful)
        replies: list[tuple[Letter, Reply, int | None]] = []
        postponed: set[CommandKey] = set()
        with ExitStack() as spans:
            for item in items:
                await self._breathe()
                before = len(batch.events)
                if item.key in known:
                    reply, at = repeated(item, known[item.key]), None
                elif (judged := self._judge(batch, item, spans)) is None:
                    postponed.add(item.key)
                    continue
                else:
                    known[item.key] = outcome = _placed(judged, batch.events[before:])
                    reply, at = outcome.reply, _last_event(batch, outcome)
                    batch.outcomes.append(outcome)
                if item.reply_to is not None and item.reply_to.reply_to:
                    replies.append((item.reply_to, reply, at))
            if batch.events:
                spans.enter_context(self._append(batch.events))
            positions = await store.commit(replace(batch.writes(), dead_letters=dead))
        if positions is None:
            return False
        self.postponed |= postponed
        self.replies += [
            (letter, reply if at is None else reply.model_copy(update={"position": positions[at]}))
            for letter, reply, at in replies
        ]
        return True

    async def _breathe(self) -> None:
        if thread_time() - self._breathed >= BREATH_SECONDS:
            await asyncio.sleep(0)
            self._breathed = thread_time()

    def _append(self, events: Sequence[NewEvent]) -> AbstractContextManager[Cause]:
        return self.handler.traces.step(
            "append task", events[0].cause, "client", APPEND, links=lambda: (event.cause for event in events)
        )

    async def _load(self, items: Sequence[Item], careful: bool) -> Batch:
        store, lookups = self.handler.store, [item.needs(careful) for item in items]
        named = await store.named(sorted({name for names, _ in lookups for name in names}))
        whole = {
            name
            for item, (names, _) in zip(items, lookups, strict=True)
            for name in names
            if name.kind != "task" or not item.only_names
        }
        streams = {stream for _, wanted in lookups for stream in wanted}
        streams |= {named[name].stream for name in whole if name in named}
        loaded = await store.load(sorted(streams)) if streams else {}
        batch = Batch(self.handler.given, self.handler.clock.now(), named, loaded, patient=self.patient)
        if more := [item.further(batch) for item in items if item.further]:
            await self._load_further(batch, more)
        alive = {item.worker for item in items if item.worker and await store.alive(item.worker)}
        batch.alive = frozenset(alive)
        if any(found.promised for found in batch.names.values()):
            batch.unseen = await self._look_upstream(batch, [*lookups, *more])
        return batch

    async def _load_further(self, batch: Batch, lookups: Sequence[Lookups]) -> None:
        names = {name for names, _ in lookups for name in names} - batch.names.keys()
        streams = {stream for _, wanted in lookups for stream in wanted} - batch.streams.keys()
        batch.names |= await self.handler.store.named(sorted(names))
        if streams:
            batch.streams = {**batch.streams, **await self.handler.store.load(sorted(streams))}

    async def _look_upstream(self, batch: Batch, lookups: Sequence[Lookups]) -> frozenset[UUID]:
        named = batch.names
        starts = [{named[name].stream for name in names if name in named} | ids for names, ids in lookups]
        loaded = {stream: list(events) for stream, events in batch.streams.items()}
        unseen = await look_upstream(self.handler.store, loaded, starts)
        batch.streams = loaded
        return unseen

    def _judge(self, batch: Batch, item: Item, spans: ExitStack) -> Outcome | None:
        queue, batch.effort = self.handler.queue, Effort()
        described = partial(_described, queue, item)
        cause = spans.enter_context(self.handler.traces.step(f"process {queue}", item.cause, "consumer", described))
        try:
            verdict = item.judge(batch, cause)
        except (NotFound, UnknownDependency, UnknownTaskType) as unknown:
            if self.patient and item.reply_to is not None:
                return None
            return _refused(item, unknown)
        except Rejected as rejected:
            return _refused(item, rejected)
        return Outcome(item.key, item.digest, item.type, verdict.reply, verdict.stream, verdict.version)


def repeated(item: Item, first: Outcome) -> Reply:
    """The answer to an id that has an outcome: the first one, or a refusal if the body is another."""
    if first.digest != item.digest:
        reused = IdReused(f"message_id: {item.key.command_id} was used before with another body; use a new id")
        return Reply(command_id=item.key.command_id, outcome="rejected", problem=reused.problem())
    return first.reply.model_copy(update={"duplicate": True})


def answer(given: Given, letter: Letter, reply: Reply) -> Outgoing:
    """The reply as a message to the sender's own queue; a sender that is gone is no error."""
    return Outgoing(
        exchange="",
        routing_key=letter.reply_to or "",
        type=reply.TYPE,
        id=given.new_id(),
        body=reply.body(),
        headers={
            "ce-correlationid": letter.chain,
            "ce-causationid": str(letter.id),
            **({"traceparent": letter.traceparent} if letter.traceparent else {}),
        },
        correlation_id=letter.reply_correlation,
        persistent=False,
        mandatory=False,
    )


def _refused(item: Item, rejected: Rejected) -> Outcome:
    reply = Reply(command_id=item.key.command_id, outcome="rejected", problem=rejected.problem())
    return Outcome(item.key, item.digest, item.type, reply)


def _placed(outcome: Outcome, added: Sequence[NewEvent]) -> Outcome:
    """The outcome at the last event of all that its command added, so that who reads from there on sees all of them."""
    return replace(outcome, stream=added[-1].stream, version=added[-1].version) if added else outcome


def _last_event(batch: Batch, outcome: Outcome) -> int | None:
    """Where in the batch's events the outcome's last one stands."""
    if outcome.version is None:
        return None
    for index in range(len(batch.events) - 1, -1, -1):
        if (batch.events[index].stream, batch.events[index].version) == (outcome.stream, outcome.version):
            return index
    return None


def _described(queue: str, item: Item) -> Attributes:
    return messaging("process", queue, item.routing_key, str(item.key.command_id), item.cause.correlation_id)
