"""What users say about the runs that follow one that failed."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from domain.messages import Value

Argument = Annotated[str, Field(max_length=65_536)]
Image = Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._:/@-]{0,511}$")]
Arguments = Annotated[tuple[Argument, ...], Field(min_length=1, max_length=1024)]
MAX_LOSSES = 3
"""New runs that a task gets after runs lost with their workers, if it says nothing else."""


RetryOn = Annotated[
    str, Field(pattern=r"^(exit-nonzero|exit:[0-9]{1,3}(-[0-9]{1,3})?|oom|timeout|pull-failed|lost)$", max_length=32)
]
"""A reason to run again: `exit:3` is that exit code, `exit:64-78` each of these; `lost` a run that was lost when no new
one is due to it any more."""


class Fallback(Value):
    """What the last run of a task has instead, once all others have failed."""

    image: Image | None = None
    command: Arguments | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.image is None and self.command is None:
            raise ValueError("give an image, a command, or both")
        return self


class Retry(Value):
    """When a run that failed is followed by another, and how long after.

    `max_runs` counts the runs that fail, all together; `max_losses` those lost with their workers, which are not
    counted in the first. The wait is `first`, or doubles from there (`exponential`) up to `max`, a minute if that is
    left out; it is shortened at random by at most half.
    """

    max_runs: Annotated[int, Field(ge=1, le=100)] = 3
    backoff: Literal["fixed", "exponential"] = "exponential"
    first: Annotated[timedelta, Field(ge=timedelta(0), le=timedelta(days=7))] = timedelta(seconds=2)
    max: Annotated[timedelta, Field(ge=timedelta(0), le=timedelta(days=7))] | None = None
    on: Annotated[tuple[RetryOn, ...], Field(min_length=1, max_length=64)] = (
        "exit-nonzero",
        "oom",
        "timeout",
        "pull-failed",
    )
    max_losses: Annotated[int, Field(ge=0, le=100)] = MAX_LOSSES
    fallback: Fallback | None = None

    @field_validator("on")
    @classmethod
    def _codes_in_order(cls, on: tuple[RetryOn, ...]) -> tuple[RetryOn, ...]:
        for one in on:
            if one.startswith("exit:") and not 1 <= exit_codes(one).start < exit_codes(one).stop <= 256:
                raise ValueError(f"{one}: exit codes are 1 to 255, the lower one first")
        return on

    @model_validator(mode="after")
    def _first_is_no_longer_than_max(self) -> Self:
        if self.max is not None and self.first > self.max:
            raise ValueError("first must be no longer than max")
        return self

    @property
    def longest(self) -> timedelta:
        """What no wait is longer than."""
        return max(self.first, timedelta(minutes=1)) if self.max is None else self.max


def exit_codes(on: str) -> range:
    """The codes that `exit:3` or `exit:64-78` stands for."""
    first, _, last = on.removeprefix("exit:").partition("-")
    return range(int(first), int(last or first) + 1)
