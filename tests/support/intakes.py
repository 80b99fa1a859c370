"""A queue, a process that takes from it, and hands that die, wait or cannot, as told."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from adapters.in_memory.broker import InMemoryBroker
from adapters.in_memory.event_log import MemoryLog
from adapters.in_memory.handling import MemoryHandlerStore
from adapters.intake import Intake as Taking
from consumers.intake import Intake
from domain.errors import Unavailable
from domain.ids import derived_id
from domain.ports.broker import Delivery, Outgoing
from infra.topology import COMMANDS_QUEUE, TOPOLOGY
from tests.support.commands import COMMAND
from tests.support.ended_tasks import Hands


class Killed(Exception):
    """The process is gone."""


@dataclass(slots=True)
class Hand:
    """Handles by name: dies of `deadly`, cannot in an outage (`down`), leaves `unknown` waiting for two seconds."""

    deadly: set[str] = field(default_factory=set[str])
    unknown: set[str] = field(default_factory=set[str])
    down: Unavailable | None = None
    parts: list[list[str]] = field(default_factory=list[list[str]])
    waited: list[timedelta] = field(default_factory=list[timedelta])

    async def __call__(self, deliveries: Sequence[Delivery], waited: timedelta) -> list[Delivery]:
        if self.down is not None:
            raise self.down
        names = [name_of(delivery) for delivery in deliveries]
        if self.deadly & set(names):
            raise Killed(names)
        self.parts.append(names)
        self.waited.append(waited)
        return [
            delivery for delivery in deliveries if waited < timedelta(seconds=2) and name_of(delivery) in self.unknown
        ]

    @property
    def handled(self) -> set[str]:
        return {name for part in self.parts for name in part}


@dataclass(slots=True)
class Place:
    """A queue, and a process that takes from it and is started again when it dies."""

    broker: InMemoryBroker = field(default_factory=InMemoryBroker)
    clock: Hands = field(default_factory=Hands)
    hand: Hand = field(default_factory=Hand)
    forgiven: dict[str, None] = field(default_factory=dict[str, None])
    store: MemoryHandlerStore = field(init=False)
    intake: Intake = field(init=False)

    async def open(self) -> "Place":
        self.store = MemoryHandlerStore(MemoryLog(self.clock))
        await self.broker.declare(TOPOLOGY)
        self.start()
        return self

    def start(self) -> None:
        subscription = self.broker.subscription(Taking(COMMANDS_QUEUE, 200))
        self.intake = Intake(subscription, self.hand, self.store, self.clock, forgiven=self.forgiven)

    async def start_again(self) -> None:
        await self.broker.lose_connections()
        self.start()

    async def send(self, *names: str) -> None:
        messages = [
            Outgoing("task.commands", "task.submit.default", "task.submit.v1", id_of(name), json.dumps(name).encode())
            for name in names
        ]
        await self.broker.publisher("client").publish(messages)

    async def rounds_until_empty(self, deaths: int = 20) -> int:
        """Take what is there, starting again after each death; how often it died."""
        died = 0
        while await self.unsettled():
            try:
                await self.intake.round()
            except Killed:
                died += 1
                assert died <= deaths, "it dies for ever"
        return died

    async def unsettled(self) -> list[str]:
        """What is not settled: all of it comes again."""
        await self.start_again()
        return [name_of(delivery) for delivery in self.broker.waiting(COMMANDS_QUEUE)]


def name_of(delivery: Delivery) -> str:
    return str(json.loads(delivery.body))


def id_of(name: str) -> UUID:
    return derived_id(COMMAND, name)
