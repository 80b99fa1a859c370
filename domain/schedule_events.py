"""What is recorded of a schedule, and of each of its times."""

from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from domain.messages import Message
from domain.schedule_spec import ScheduleSpec


class ScheduleDefined(Message):
    """A schedule was made, or is now another. Paused, it stays so."""

    TYPE = "schedule.defined.v1"
    schedule_id: str
    spec: ScheduleSpec


class SchedulePaused(Message):
    """A schedule fires no more until it is resumed."""

    TYPE = "schedule.paused.v1"
    schedule_id: str
    by: str


class ScheduleResumed(Message):
    """A schedule fires again, from now on."""

    TYPE = "schedule.resumed.v1"
    schedule_id: str
    by: str


class ScheduleDeleted(Message):
    """A schedule is gone. Its tasks stay as they are."""

    TYPE = "schedule.deleted.v1"
    schedule_id: str
    by: str


FiredBy: TypeAlias = Literal["trigger", "backfill"]


class ScheduleFired(Message):
    """A schedule submitted a task for a nominal time: a fact of that time's own stream. `schedule`: its stream.

    `by`: what a person asked for; absent: its time came.
    """

    TYPE = "schedule.fired.v1"
    schedule_id: str
    schedule: UUID
    nominal: datetime
    task_id: UUID
    by: FiredBy | None = None


SkipReason: TypeAlias = Literal["overlap", "paused", "catch-up", "window", "refused"]


class FireSkipped(Message):
    """A schedule did not fire for a nominal time, nor, where `to` is given, for those after it up to and with that one:
    `count` in all, absent when there are more than 500. A person may still have it fire for each of them.

    `reason`: a task of it had not ended (overlap); it was paused; it was missed, and is not made up for by the policy
    (catch-up) or was due too long ago (window); its task was refused, as `detail` says.
    """

    TYPE = "schedule.fire-skipped.v1"
    schedule_id: str
    schedule: UUID
    nominal: datetime
    reason: SkipReason
    to: datetime | None = None
    count: int | None = None
    detail: str | None = None
