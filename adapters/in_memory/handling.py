"""The handler's store and the beats' store in memory, for unit tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from adapters.in_memory.event_log import MemoryLog
from domain.ids import derived_id
from domain.ports.handling import Beat, CommandKey, DeadLetter, Named, NameKey, Outcome, Writes, parents, with_children
from domain.recorded import NewEvent, Recorded
from domain.reports import Heartbeat

LEASE_TERM = 15.0
K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class MemoryLease:
    """An open lease, on the lease clock."""

    fence: int
    worker_id: str
    generation: int
    until: float
    accepted: bool = False


@dataclass(slots=True)
class MemoryBeats:
    """Lease rows and the lease clock (`clock`, seconds)."""

    clock: float = 0.0
    probe: int = 0
    leases: dict[UUID, MemoryLease] = field(default_factory=dict[UUID, MemoryLease])
    last: dict[str, tuple[Heartbeat, float]] = field(default_factory=dict[str, tuple[Heartbeat, float]])

    async def record(self, beats: Sequence[Beat]) -> None:
        """Each worker's last beat, the leases its beats renew, the probe."""
        for beat in beats:
            if beat.probe is not None:
                self.probe = max(self.probe, beat.probe)
            if beat.heartbeat is not None:
                self._note(beat.heartbeat)
        for beat in beats:
            if beat.heartbeat is not None:
                self._renew(beat.heartbeat)

    def _note(self, beat: Heartbeat) -> None:
        known = self.last.get(beat.worker_id)
        if known is None or (known[0].generation, known[0].beat) < (beat.generation, beat.beat):
            self.last[beat.worker_id] = (beat, self.clock)

    def _renew(self, beat: Heartbeat) -> None:
        if beat.generation != self.last[beat.worker_id][0].generation:
            return
        for run in beat.runs:
            lease = self.leases.get(run.run_id)
            if lease is None or (lease.fence, lease.worker_id) != (run.fence, beat.worker_id):
                continue
            if beat.generation >= lease.generation:
                lease.accepted, lease.until = True, self.clock + LEASE_TERM


@dataclass(slots=True)
class MemoryHandlerStore:
    """All or nothing, like a transaction: `commit` checks everything before it changes anything.

    `appended`: how many events each transaction added.
    """

    log: MemoryLog
    beats: MemoryBeats = field(default_factory=MemoryBeats)
    inbox: dict[CommandKey, Outcome] = field(default_factory=dict[CommandKey, Outcome])
    names: dict[NameKey, Named] = field(default_factory=dict[NameKey, Named])
    dead_letters: list[DeadLetter] = field(default_factory=list[DeadLetter])
    returned: dict[str, int] = field(default_factory=dict[str, int])
    returned_at: dict[str, datetime] = field(default_factory=dict[str, datetime])
    appended: list[int] = field(default_factory=list[int])

    async def outcomes(self, keys: Sequence[CommandKey]) -> dict[CommandKey, Outcome]:
        """The outcomes already recorded for these commands; their replies name the position."""
        return _only(self.inbox, keys)

    async def named(self, keys: Sequence[NameKey]) -> dict[NameKey, Named]:
        """The streams that these names stand for, as far as they are taken."""
        return with_children(_only(self.names, [*keys, *parents(keys)]), keys)

    async def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        """All events of these streams in order; a stream without events is left out."""
        return self.log.load(streams)

    async def alive(self, worker_id: str) -> bool:
        """Whether a beat of this worker came within the last lease term."""
        heard = self.beats.last.get(worker_id)
        return heard is not None and heard[1] + LEASE_TERM > self.beats.clock

    async def installation(self) -> UUID:
        """The id of this platform."""
        return derived_id(UUID(int=0), "installation")

    async def redelivered(self, message_ids: Sequence[str], more: int = 1) -> dict[str, int]:
        """How often each of these messages has come back unsettled, with `more` added to it."""
        for name in set(message_ids):
            self.returned[name] = self.returned.get(name, 0) + more
            self.returned_at[name] = self.log.clock.now()
        return _only(self.returned, message_ids)

    async def forget(self, message_ids: Sequence[str]) -> None:
        """Forget how often these messages came back, and all that have not come back for a day."""
        day_ago = self.log.clock.now() - timedelta(days=1)
        old = [name for name, at in self.returned_at.items() if at < day_ago]
        for name in [*message_ids, *old]:
            self.returned.pop(name, None)
            self.returned_at.pop(name, None)

    async def commit(self, writes: Writes) -> Sequence[int] | None:
        """Store all, or nothing. The events' positions; None if something that was decided on has changed."""
        keys = [outcome.key for outcome in writes.outcomes]
        taken = any(key in self.inbox for key in keys)
        if taken or not all(self._free(*name) for name in writes.names.items()) or self._moved(writes.events):
            return None
        self.inbox |= {outcome.key: outcome for outcome in writes.outcomes}
        self.names |= writes.names
        stored = {letter.id for letter in self.dead_letters}
        self.dead_letters += [letter for letter in writes.dead_letters if letter.id not in stored]
        for run_id, fence in writes.closed:
            if (lease := self.beats.leases.get(run_id)) and lease.fence == fence:
                del self.beats.leases[run_id]
        self.appended.append(len(writes.events))
        positions = self.log.append(writes.events).positions
        self._place(writes, positions)
        return positions

    def _free(self, key: NameKey, wanted: Named) -> bool:
        there = self.names.get(key)
        return there is None or (there.promised and there.stream == wanted.stream)

    def _moved(self, events: Sequence[NewEvent]) -> bool:
        return bool(MemoryLog(self.log.clock, list(self.log.events)).append(events).moved)

    def _place(self, writes: Writes, positions: Sequence[int]) -> None:
        """Let stored replies name their positions, as the real store's do by their join."""
        at = {(new.stream, new.version): position for new, position in zip(writes.events, positions, strict=True)}
        for outcome in writes.outcomes:
            if outcome.stream and outcome.version and (position := at.get((outcome.stream, outcome.version))):
                reply = outcome.reply.model_copy(update={"position": position})
                self.inbox[outcome.key] = Outcome(
                    outcome.key, outcome.digest, outcome.type, reply, outcome.stream, outcome.version
                )


def _only(rows: dict[K, V], keys: Sequence[K]) -> dict[K, V]:
    return {key: rows[key] for key in keys if key in rows}
