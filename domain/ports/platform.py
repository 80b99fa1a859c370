"""The platform as its clients see it: commands in, answers and views out.

Views are the JSON objects of the HTTP API. A `ref` is an id, the beginning of one, or a name within `namespace`.
Every read raises Refused for what the platform refuses (`not-found` among it), Unavailable when it is not reached.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol, TypeAlias
from uuid import UUID

from domain.commands import Command
from domain.messages import Cause
from domain.work import Reply

View: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Output:
    """Some of what a run printed, in the order it was stored."""

    stream: Literal["stdout", "stderr"]
    data: bytes


class Sending(Protocol):
    """The way in for commands."""

    async def send(self, command: Command, command_id: UUID, cause: Cause, answer: bool) -> Reply | None:
        """Return when the command is safe (answer False: None), or with what became of it.

        Of the cause, the trace context goes with it. Sending again with the same id is harmless. Raises Refused,
        Unavailable.
        """
        ...


class Reading(Protocol):
    """The way out."""

    async def outcome(self, command_id: UUID, wait: timedelta) -> Reply | None:
        """What became of a command; None while it is not known, after waiting for it."""
        ...

    async def tasks(self, namespace: str | None, filters: Mapping[str, str], limit: int) -> Sequence[View]:
        """Tasks, the newest first. `namespace` None: all that may be seen. A filter `label.<name>` is on that label."""
        ...

    async def task(self, ref: str, namespace: str, wait: timedelta | None = None, after: int = 0) -> View:
        """One task, `wait`ing for its end. `after`: a position that the answer must hold."""
        ...

    async def task_events(
        self, ref: str, namespace: str, after_version: int = 0, wait: timedelta | None = None
    ) -> Sequence[View]:
        """The events of one task by version, `wait`ing for the first."""
        ...

    async def explain(self, ref: str, namespace: str, after: int = 0) -> View:
        """Why one task stands as it does. `after`: a position that the answer must hold."""
        ...

    async def runs(self, ref: str, namespace: str) -> Sequence[View]:
        """The runs of one task by number."""
        ...

    def output(self, run_id: str, follow: bool, tail: int | None = None) -> AsyncIterator[Output]:
        """What a run prints; with `follow` to its end, else what is stored. `tail`: only the last lines."""
        ...

    async def events(self, namespace: str | None, after: int, types: Sequence[str], limit: int) -> Sequence[View]:
        """The log after a position, in order; `types` empty: all."""
        ...

    async def workflow(self, ref: str, namespace: str, wait: timedelta | None = None, after: int = 0) -> View:
        """One workflow with its graph, `wait`ing for its end. `after`: a position that the answer must hold."""
        ...

    async def schedules(self, namespace: str | None) -> Sequence[View]:
        """Schedules by name. `namespace` None: all that may be seen."""
        ...

    async def schedule(self, ref: str, namespace: str, after: int = 0) -> View:
        """One schedule. `after`: a position that the answer must hold."""
        ...

    async def fires(self, ref: str, namespace: str, coming: int = 10, last: int = 10) -> View:
        """When a schedule fires next (`next`), and what became of its last times (`last`)."""
        ...

    async def workers(self) -> Sequence[View]:
        """All workers."""
        ...

    async def limits(self) -> Sequence[View]:
        """The limits that were set."""
        ...

    async def task_types(self, namespace: str | None) -> Sequence[View]:
        """The task types that were put, in a namespace or in all that may be seen."""
        ...

    async def task_type(self, name: str, namespace: str) -> View:
        """One task type of a namespace. Raises Refused where there is none."""
        ...

    async def projections(self) -> Sequence[View]:
        """The followers of the log and how far behind they are."""
        ...
