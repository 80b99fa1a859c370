"""What the handler needs: outcomes already given, names already taken, streams, and one transaction to write all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from domain.ids import child_of, child_stream
from domain.recorded import NewEvent, Recorded
from domain.reports import Heartbeat
from domain.work import Reply


@dataclass(frozen=True, slots=True, order=True)
class CommandKey:
    """Who sent a command, and the id he gave it."""

    command_id: UUID
    principal: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was decided of a command. `digest`: SHA-256 of the body that was decided on."""

    key: CommandKey
    digest: bytes
    type: str
    reply: Reply
    stream: UUID | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class NameKey:
    """A name that users chose. `kind`: task, workflow."""

    namespace: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Named:
    """Whose name it is. `digest`: SHA-256 of what was submitted under it; empty, nothing was: it is promised to the
    task that will be, which tasks wait for already."""

    stream: UUID
    digest: bytes

    @property
    def promised(self) -> bool:
        """Whether the task of this name is still to come."""
        return not self.digest


def parents(keys: Iterable[NameKey]) -> list[NameKey]:
    """The names of the tasks whose children some of `keys` name: these take none of their own."""
    found = ((key, child_of(key.name)) for key in keys if key.kind == "task")
    return [NameKey(key.namespace, key.kind, child[0]) for key, child in found if child]


def with_children(found: Mapping[NameKey, Named], keys: Iterable[NameKey]) -> dict[NameKey, Named]:
    """Those of `keys` that are names. `found`: also what `parents` names."""
    names: dict[NameKey, Named] = {}
    for key in keys:
        child = child_of(key.name) if key.kind == "task" else None
        named = found.get(NameKey(key.namespace, key.kind, child[0]) if child else key)
        if named is not None and not (child and named.promised):
            names[key] = Named(child_stream(named.stream, child[1]), named.digest) if child else named
    return names


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be judged, with secrets masked. `reason` is a stable code; one `id` is stored once."""

    id: UUID
    queue: str
    reason: str
    detail: str
    body: bytes
    digest: bytes
    user: str | None
    message_id: str | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Writes:
    """All that one batch changes. `names`: taken, promised, or promised as before and to be so still. `closed`: leases
    that end with it, as (run id, fence)."""

    outcomes: Sequence[Outcome] = ()
    names: Mapping[NameKey, Named] = field(default_factory=dict[NameKey, Named])
    closed: Sequence[tuple[UUID, int]] = ()
    events: Sequence[NewEvent] = ()
    dead_letters: Sequence[DeadLetter] = ()


class HandlerStore(Protocol):
    """Everything the handler reads and writes. Reads see committed data; only `commit` decides."""

    async def outcomes(self, keys: Sequence[CommandKey]) -> dict[CommandKey, Outcome]:
        """The outcomes already recorded for these commands; their replies name the position."""
        ...

    async def named(self, keys: Sequence[NameKey]) -> dict[NameKey, Named]:
        """The streams that these names stand for, as far as they are taken."""
        ...

    async def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        """All events of these streams in order; a stream without events is left out."""
        ...

    async def alive(self, worker_id: str) -> bool:
        """Whether a beat of this worker came within the last lease term."""
        ...

    async def installation(self) -> UUID:
        """The id made by the first migration, which labels this platform's containers."""
        ...

    async def redelivered(self, message_ids: Sequence[str], more: int = 1) -> dict[str, int]:
        """How often each of these messages has come back unsettled, with `more` added in a transaction of its own.

        `more` 0 only asks.
        """
        ...

    async def forget(self, message_ids: Sequence[str]) -> None:
        """Forget how often these messages came back: they are settled, and begin anew if they are sent again.

        What has not come back for a day is forgotten too.
        """
        ...

    async def commit(self, writes: Writes) -> Sequence[int] | None:
        """Store all in one transaction, in order: outcomes, names, leases, events. The events' positions.

        None, and nothing is stored, if an outcome or name was there already or a stream has moved: load and decide
        again. A name that was promised to the same stream is not there yet: it is taken, or promised again. Raises
        Unavailable if it is not known whether it is stored: look the outcomes up before deciding again.
        """
        ...


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat as received, or a probe of the timekeeper's (worker None)."""

    heartbeat: Heartbeat | None
    probe: int | None = None


class BeatStore(Protocol):
    """Lease rows and the lease clock: soft state, on the database's clock."""

    async def record(self, beats: Sequence[Beat]) -> None:
        """In one transaction: note each worker's last beat, renew and accept the open leases that it lists for a
        term of 15 s on the lease clock, note the probe. A beat of an old generation renews nothing."""
        ...
