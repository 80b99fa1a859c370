"""Deliveries as clients and workers send them, and a handler over in-memory twins."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from adapters.in_memory.event_log import MemoryLog
from adapters.in_memory.handling import MemoryHandlerStore
from adapters.in_memory.traces import NoTraces
from consumers.batches import Given
from consumers.handler import Handler
from consumers.items import CommandItems, Item, ReportItems
from consumers.reading import decode, read
from domain.ids import derived_id
from domain.ports.broker import Delivery, Outgoing, Publisher
from domain.principals import Senders
from domain.work import Reply
from tests.support.ended_tasks import NOW, Hands

COMMAND = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7c01")
COMMAND_2 = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7c02")
COMMAND_3 = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7c03")
NOOP: dict[str, Any] = {"executor": "noop"}
ANYONE = Senders({"client": frozenset({"*"}), "narrow": frozenset({"analytics"})}, frozenset({"api"}), required=False)


def command(
    type: str, data: Mapping[str, Any], id: UUID = COMMAND, user: str | None = "client", **changes: Any
) -> Delivery:
    """A command message, asking for a reply."""
    fields: dict[str, Any] = {
        "tag": 1,
        "queue": "task.commands.handler",
        "exchange": "task.commands",
        "routing_key": f"{type.rpartition('.v')[0]}.{data.get('namespace', 'default')}",
        "body": json.dumps(data).encode(),
        "content_type": "application/json",
        "message_id": str(id),
        "type": type,
        "reply_to": "replies",
        "user": user,
    }
    return Delivery(**(fields | changes))


def submit(data: Mapping[str, Any], id: UUID = COMMAND, **changes: Any) -> Delivery:
    return command("task.submit.v1", {**NOOP, **data}, id, **changes)


def needing(name: str, *needs: str) -> dict[str, Any]:
    """A task that needs others, those whose names begin with ~ also if they are still to come."""
    depends_on = [{"task_id": one.lstrip("~"), **({"forward": "PT1H"} if one[0] == "~" else {})} for one in needs]
    return {**NOOP, "task_id": name, "depends_on": depends_on}


def task(name: str, *needs: str) -> Delivery:
    """The submission of a task that is `needing`, under an id of its own."""
    return submit(needing(name, *needs), derived_id(COMMAND, " ".join((name, *needs))))


class Ids:
    """Fresh ids that are the same in every run of a test."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> UUID:
        self.count += 1
        return derived_id(COMMAND, f"fresh:{self.count}")


@dataclass(slots=True)
class Sent:
    """A publisher that keeps what it was given."""

    messages: list[Outgoing] = field(default_factory=list[Outgoing])

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self.messages += messages

    @property
    def replies(self) -> list[Reply]:
        return [Reply.model_validate_json(message.body) for message in self.messages]


class Desk:
    """A handler of commands and one of reports over the same in-memory store."""

    def __init__(self, senders: Senders = ANYONE, store: MemoryHandlerStore | None = None) -> None:
        self.clock, self.sent = Hands(NOW), Sent()
        self.store = store or MemoryHandlerStore(MemoryLog(self.clock))
        self.new_id = Ids()
        given = Given(self.new_id, "tallyport/busybox:dev", derived_id(UUID(int=0), "installation"))
        self.handle, self.report = (
            Handler(
                queue,
                store=self.store,
                publisher=self.sent,
                traces=NoTraces(),
                clock=self.clock,
                given=given,
                read=read,
                items=items,
            )
            for queue, items in (
                ("task.commands.handler", CommandItems(senders, decode)),
                ("task.reports.handler", ReportItems(decode)),
            )
        )

    def reply_by(self, publisher: Publisher) -> None:
        """Have replies sent by another publisher."""
        self.handle = replace(self.handle, publisher=publisher)

    def items_of(self, type: str, data: Mapping[str, Any]) -> list[Item]:
        """What a command asks for."""
        return self.handle.items(read(command(type, data, self.new_id())))

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.store.log.events]

    async def reply(self, delivery: Delivery, waited: timedelta = timedelta(seconds=2)) -> Reply:
        """Handle one delivery; its reply."""
        before = len(self.sent.messages)
        await self.handle([delivery], waited)
        (reply,) = self.sent.replies[before:]
        return reply
