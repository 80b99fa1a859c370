"""What users say about a schedule: when it fires, what each fire runs, and what becomes of fires that cannot be."""

from datetime import timedelta
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from domain.firing import Dst, Rule
from domain.messages import Value
from domain.moments import Moment
from domain.specs import TaskSpec

Overlap: TypeAlias = Literal["skip", "queue", "cancel-running", "allow"]
"""What a fire does while a task of an earlier one has not ended: it is skipped, waits for its end, cancels it first, or
runs beside it."""


class CatchUp(Value):
    """Which of the fires that were missed by more than a minute are made up for: none, the last, or the last `max`; and
    none that was due longer ago than `within`."""

    policy: Literal["skip", "last", "all"] = "last"
    within: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=366))] | None = None
    max: Annotated[int, Field(ge=1, le=100)] | None = None

    @model_validator(mode="after")
    def _max_is_for_all(self) -> Self:
        if self.max is not None and self.policy != "all":
            raise ValueError("max is for policy all: leave it out, or say all")
        return self

    @property
    def kept(self) -> int:
        """How many at most."""
        return {"skip": 0, "last": 1, "all": self.max or 10}[self.policy]


class ScheduleSpec(Value):
    """A schedule as its user describes it. One of `cron` (on the wall of `timezone`, UTC if it is left out), `interval`
    and `at` says when; nothing fires before `start`, from which on an interval is counted (else from 1970 on).

    `dst` (once, if it is left out): what becomes of times that the clock jumps over, or shows twice. `task`: what each
    fire submits; its name is the schedule's unless it has one.
    """

    cron: Annotated[str, Field(max_length=256)] | None = None
    interval: Annotated[timedelta, Field(ge=timedelta(seconds=1), le=timedelta(days=366))] | None = None
    at: Moment | None = None
    timezone: Annotated[str, Field(max_length=256)] | None = None
    dst: Dst | None = None
    start: Moment | None = None
    overlap: Overlap = "skip"
    catch_up: CatchUp = CatchUp()
    task: TaskSpec

    @property
    def rule(self) -> Rule:
        """When it fires."""
        return Rule(self.cron, self.interval, self.at, self.timezone or "UTC", self.dst or "once", self.start)
