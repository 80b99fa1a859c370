"""Where a task may run, beside how many others, and when it need not: parts of what users say of tasks and limits."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from domain.messages import Name, Text, Value

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]


class Requires(Value):
    """Where a task may run: on workers of this pool that have all these labels; on the very one that ran another task
    last, which must be one that it depends on."""

    pool: Name = "default"
    labels: Annotated[dict[Label, Text], Field(min_length=1, max_length=16)] | None = None
    same_worker_as: Name | None = None


WhenFull = Literal["queue", "cancel-oldest", "cancel-newest"]
"""What becomes of a task that is queued when as many as may are queued or run: it waits; or the one that was submitted
first is cancelled for it; or it is cancelled itself."""


class Concurrency(Value):
    """At most `limit` tasks of the namespace that name this key run at once."""

    key: Name
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1
    when_full: WhenFull = "queue"


class Rate(Value):
    """So many may be given a slot in any span of this length."""

    starts: Annotated[int, Field(ge=1, le=1_000_000)]
    per: Annotated[timedelta, Field(ge=timedelta(seconds=1), le=timedelta(days=1))]


class Cache(Value):
    """That a task is a pure function of its image, command and inputs: it need not run where an equal one succeeded.

    `ttl`: for how long after its end the result of one may be taken, and how old a result the other takes. `version`:
    of all that the platform does not see; with another one results are made anew.
    """

    ttl: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=365))] = timedelta(days=7)
    version: Text | None = None
