"""Exchanges, queues and bindings, as values: what is there to be declared."""

from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

Argument: TypeAlias = str | int | bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """Durable, never deleted by itself."""

    name: str
    kind: Literal["topic", "direct", "fanout"]
    arguments: dict[str, Argument] = field(default_factory=dict[str, Argument])


@dataclass(frozen=True, slots=True)
class Queue:
    """Durable, never deleted by itself unless `arguments` say so (`x-expires`)."""

    name: str
    arguments: dict[str, Argument] = field(default_factory=dict[str, Argument])


@dataclass(frozen=True, slots=True)
class Binding:
    """Messages of `exchange` whose routing key fits `key` go to `queue`."""

    exchange: str
    queue: str
    key: str


@dataclass(frozen=True, slots=True)
class Topology:
    """Declared in this order: exchanges, queues, bindings."""

    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()


class Declares(Protocol):
    """Makes what is missing at the broker."""

    async def declare(self, topology: Topology) -> None:
        """Make what is not there; a repeat changes nothing. Raises TopologyConflict for what is there but different,
        Unavailable if the broker does not answer."""
        ...
