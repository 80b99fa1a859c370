"""A schedule from Python: `client.schedule("nightly").put(ScheduleSpec(...))`."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from domain.commands import (
    BackfillSchedule,
    DeleteSchedule,
    PauseSchedule,
    PutSchedule,
    ResumeSchedule,
    TriggerSchedule,
)
from domain.ports.platform import View
from domain.schedule_spec import ScheduleSpec

if TYPE_CHECKING:
    from api.client import Client, SubmittedTask

__all__ = ["Schedule", "ScheduleSpec"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule of the platform, or one that is to be. Each of these returns when the platform has agreed, and raises
    Refused when it does not."""

    client: "Client"
    id: str

    async def put(self, spec: ScheduleSpec) -> None:
        """Make it, or make it another."""
        fields = {name: getattr(spec, name) for name in ScheduleSpec.model_fields}
        command = PutSchedule(schedule_id=self.id, namespace=self.client.namespace, **fields)
        await self.client.send(command, reply=True)

    async def pause(self) -> None:
        """Have it fire no more until it is resumed."""
        await self.client.send(PauseSchedule(schedule_id=self.id, namespace=self.client.namespace), reply=True)

    async def resume(self) -> None:
        """Have it fire again."""
        await self.client.send(ResumeSchedule(schedule_id=self.id, namespace=self.client.namespace), reply=True)

    async def delete(self) -> None:
        """Take it away; its tasks stay as they are."""
        await self.client.send(DeleteSchedule(schedule_id=self.id, namespace=self.client.namespace), reply=True)

    async def trigger(self, as_if: datetime | None = None) -> "SubmittedTask":
        """Have it fire now: for now, or for that time, if it has not fired for it."""
        command = TriggerSchedule(schedule_id=self.id, namespace=self.client.namespace, as_if=as_if)
        _, reply = await self.client.send(command, reply=True)
        assert reply is not None, "a reply was asked for"
        (task,) = await self.client.accepted_by(reply)
        return task

    async def backfill(self, begin: datetime, end: datetime) -> "list[SubmittedTask]":
        """Have it fire now for each of its times in this span, that it has not fired for."""
        namespace = self.client.namespace
        command = BackfillSchedule(schedule_id=self.id, namespace=namespace, from_=begin, to=end)
        _, reply = await self.client.send(command, reply=True)
        assert reply is not None, "a reply was asked for"
        return await self.client.accepted_by(reply)

    async def view(self) -> View:
        """All that is known of it now."""
        return await self.client.reading.schedule(self.id, self.client.namespace, self.client.told.position)

    async def fires(self, coming: int = 10, last: int = 10) -> View:
        """When it fires next (`next`), and what became of its last times (`last`)."""
        return await self.client.reading.fires(self.id, self.client.namespace, coming, last)
