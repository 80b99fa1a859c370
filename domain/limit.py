"""A limit that is set at run time: how many may run at once, and how many may start in a span. Pure."""

from dataclasses import dataclass, replace
from uuid import UUID

from domain import events as e
from domain.ids import derived_id
from domain.placing import Rate


@dataclass(frozen=True, slots=True)
class Limit:
    """As it was set last."""

    id: UUID
    version: int
    changed: e.LimitChanged


@dataclass(frozen=True, slots=True)
class Quota:
    """What a scope allows: `max_running` at once, `rate`; `started`: how many were given a slot in the span of the rate
    so far. What is None is not limited here."""

    max_running: int | None = None
    rate: Rate | None = None
    started: int = 0


@dataclass(frozen=True, slots=True)
class Set:
    """What is to hold from now on; what is None is not limited."""

    scope: str
    max_running: int | None
    rate: Rate | None
    by: str


def limit_stream(scope: str) -> UUID:
    """The stream of a limit: derived, so that every change finds it."""
    return derived_id(UUID(int=0), f"limit:{scope}")


def decide(limit: Limit | None, command: Set) -> list[e.LimitChanged]:
    """The change; none when it is already so."""
    now = (limit.changed.max_running, limit.changed.rate) if limit else (None, None)
    if now == (command.max_running, command.rate):
        return []
    return [
        e.LimitChanged(scope=command.scope, max_running=command.max_running, rate=command.rate, by=command.by),
    ]


def evolve(limit: Limit | None, id: UUID, event: e.Event) -> Limit:
    """The state after `event`, the next of the stream `id`."""
    if not isinstance(event, e.LimitChanged):
        raise ValueError(f"stream {id}: {event.TYPE} cannot follow here")
    return Limit(id, 1, event) if limit is None else replace(limit, version=limit.version + 1, changed=event)
