"""Log chunks in, stored bytes out: a batch is written, made durable, counted, and only then settled."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from consumers.dead_letters import dead_letter
from domain.errors import Unreadable
from domain.messages import is_uuid
from domain.ports.broker import Delivery, Subscription
from domain.ports.handling import DeadLetter, HandlerStore, Writes
from domain.ports.log import NewId
from domain.ports.logkeeping import LogChunk, LogStorage, LogStream

BATCH = 200
LARGEST = 64 << 10
FURTHEST = 1 << 40
TYPE = "log.chunk.v1"
STREAMS: Mapping[str, LogStream] = {"stdout": "stdout", "stderr": "stderr"}
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class LogKeeper:
    """Keeps what arrives at one subscription. Several keepers may share a queue."""

    subscription: Subscription
    storage: LogStorage
    store: HandlerStore
    new_id: NewId

    async def run(self) -> None:
        """Until cancelled. Raises Unavailable when the storage does: what is not settled is delivered again."""
        while True:
            await self.round()

    async def round(self) -> None:
        """One batch."""
        deliveries = await self.subscription.batch(BATCH)
        chunks: list[LogChunk] = []
        letters: list[DeadLetter] = []
        for delivery in deliveries:
            try:
                chunks.append(read_chunk(delivery))
            except Unreadable as unreadable:
                letters.append(dead_letter(self.new_id(), delivery.queue, delivery, unreadable))
        if chunks:
            await self.storage.store(chunks)
        if letters:
            await self.store.commit(Writes(dead_letters=letters))
        await self.subscription.ack(deliveries[-1])


def read_chunk(delivery: Delivery) -> LogChunk:
    """The chunk that a message carries: raw bytes, and headers run-id, stream, offset, last. Raises Unreadable.

    Its place in the storage is made of what is checked here, so nothing else ever becomes part of a path.
    """
    headers = delivery.headers
    namespace, _, _ = delivery.routing_key.rpartition(".")
    run, named = headers.get("run-id"), headers.get("stream")
    stream = STREAMS.get(named) if isinstance(named, str) else None
    run_id = is_uuid(run) if isinstance(run, str) else None
    offset = headers.get("offset")
    if delivery.type != TYPE:
        raise Unreadable("unknown-type", f"type {delivery.type}: only {TYPE} is taken here")
    if not _NAMESPACE.fullmatch(namespace) or run_id is None:
        raise Unreadable("bad-header", "routing key and header run-id must be <namespace>.<run id> and the run id")
    if delivery.routing_key != f"{namespace}.{run_id}":
        raise Unreadable("bad-header", f"routing key {delivery.routing_key!r} names another run than header run-id")
    if stream is None:
        raise Unreadable("bad-header", "header stream must be stdout or stderr")
    if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset < FURTHEST:
        raise Unreadable("bad-header", f"header offset must be a whole number from 0 to {FURTHEST - 1}")
    if len(delivery.body) > LARGEST:
        raise Unreadable("too-large", f"body: {len(delivery.body)} bytes; a chunk has at most {LARGEST}")
    return _chunk(namespace, run_id, stream, offset, delivery)


def _chunk(namespace: str, run_id: UUID, stream: LogStream, offset: int, delivery: Delivery) -> LogChunk:
    return LogChunk(namespace, run_id, stream, offset, delivery.body, last=delivery.headers.get("last") is True)
