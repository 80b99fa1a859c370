"""What the API asks of the views and the log. Every answer is JSON text, written by the database.

`Allowed` is what a reader may see: namespaces, or None for all. What is unknown and what lies outside look the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeAlias
from uuid import UUID

from domain.events import ENDS

Allowed: TypeAlias = frozenset[str] | None

MAX_TASKS = 500
MAX_EVENTS = 1000
STATUS_GROUPS = {
    "pending": ("blocked", "queued"),
    "completed": ("succeeded",),
    "open": ("blocked", "queued", "paused", "running", "cancelling"),
    "ended": tuple(sorted(end.split(".")[1] for end in ENDS)),
}
SORTS = ("created_at", "updated_at", "priority", "name")
MIN_PREFIX = 8
"""Characters of a task's, run's or workflow's id that are looked up as its beginning; hyphens count."""


@dataclass(frozen=True, slots=True)
class Found:
    """One JSON object. `version` and `position`: of the last event in it. `head`: the projector's position."""

    body: str
    version: int
    position: int
    head: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A JSON array. `next`: the cursor of the page after this one, None at the end. `head` as in Found."""

    body: str
    count: int
    next: str | None
    head: int


@dataclass(frozen=True, slots=True)
class Read:
    """A JSON array of events in order. `up_to`: whatever was asked for at or below it is here, or was before."""

    body: str
    count: int
    up_to: int


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks. `status` may hold the groups of STATUS_GROUPS; `labels` maps a name to its value, None: any.

    `workflow` is a workflow's id or given name, `parent` that of a task with children. Times are UTC. `sort` is one of
    SORTS, with `-` in front: last first.
    """

    allowed: Allowed
    status: Sequence[str] = ()
    name: str | None = None
    labels: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    worker: str | None = None
    workflow: str | None = None
    parent: str | None = None
    task_type: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    sort: str = "-created_at"
    limit: int = 50
    cursor: str | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events, of the whole log. `since` and `until` are times of recording, UTC, both inclusive."""

    allowed: Allowed
    after: int = 0
    types: Sequence[str] = ()
    correlation: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100


Kind: TypeAlias = Literal["task", "run", "workflow", "schedule"]


class Queries(Protocol):
    """Reads for people. Each takes at most 2 s. Raises Unavailable when the database does not answer in that time."""

    async def resolve(self, kind: Kind, ref: str, allowed: Allowed) -> UUID | None:
        """The stream that `ref` names: its id, else the name its user gave, else the only id that begins so.

        Raises AmbiguousId when several do; it says how many characters or which namespace would tell them apart.
        """
        ...

    async def tasks(self, wanted: TaskFilter) -> Listed:
        """A page of tasks, without spec, result and dependencies. Raises BadQuery for a sort, status or cursor
        that is none."""
        ...

    async def task(self, id: UUID, allowed: Allowed) -> Found | None:
        """All that is known of a task."""
        ...

    async def task_events(
        self, id: UUID, allowed: Allowed, after_version: int = 0, types: Sequence[str] = (), limit: int = 100
    ) -> Read | None:
        """Events of one stream by version (`up_to` is a version); None when there is no such stream."""
        ...

    async def task_runs(self, id: UUID, allowed: Allowed) -> Listed | None:
        """A task's runs by number; None when there is no such task."""
        ...

    async def run(self, id: UUID, allowed: Allowed) -> Found | None:
        """All that is known of a run."""
        ...

    async def events(self, wanted: EventFilter) -> Read:
        """The log in its one order, after a position."""
        ...

    async def workflows(self, allowed: Allowed, limit: int = 50, cursor: str | None = None) -> Listed:
        """Workflows, the newest first, with how many of their tasks stand how. Raises BadQuery."""
        ...

    async def workflow(self, id: UUID, allowed: Allowed) -> Found | None:
        """A workflow with its graph: every task, its status and what it needs."""
        ...

    async def schedules(self, allowed: Allowed, limit: int = 50, cursor: str | None = None) -> Listed:
        """Schedules that are not deleted, by name. Raises BadQuery."""
        ...

    async def schedule(self, id: UUID, allowed: Allowed) -> Found | None:
        """All that is known of a schedule."""
        ...

    async def fires(self, schedule: UUID, allowed: Allowed, limit: int = 10) -> Listed:
        """What became of a schedule's times, the last first, with how the tasks stand."""
        ...

    async def workers(self, allowed: Allowed) -> Listed:
        """Every worker with the age of its last beat and the runs it holds in these namespaces."""
        ...

    async def worker(self, worker_id: str, allowed: Allowed) -> Found | None:
        """One worker, by its id."""
        ...

    async def limits(self, allowed: Allowed) -> Listed:
        """The limits that were set in these namespaces, and those of pools."""
        ...

    async def task_types(self, allowed: Allowed) -> Listed:
        """The task types that were put in these namespaces, by name."""
        ...

    async def task_type(self, id: UUID, allowed: Allowed) -> Found | None:
        """One task type, by the id of its stream."""
        ...

    async def outcome(self, command_id: UUID, allowed: Allowed, principal: str) -> str | None:
        """The reply to a command that `principal` sent, or whose stream lies in `allowed`; None while there is none."""
        ...

    async def projections(self) -> Listed:
        """Every follower of the log: its position, and how far and how long it is behind."""
        ...

    async def head(self) -> int:
        """The projector's position: what is at or below it is in the views."""
        ...
