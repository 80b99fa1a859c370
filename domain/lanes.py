"""Queued tasks that are alike in all that decides whether they may run share a lane. Pure."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any
from uuid import UUID

from domain.events import TaskQueued
from domain.ids import derived_id
from domain.placing import WhenFull

NIL = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Share:
    """A limit that tasks bring along: at most `limit` of those that name `scope` run at once."""

    scope: str
    limit: int
    when_full: WhenFull = "queue"


@dataclass(frozen=True)
class Lane:
    """What its tasks need of a worker (`worker`: that one, and no other), and which limits count them."""

    namespace: str
    pool: str
    executor: str
    labels: tuple[tuple[str, str], ...] = ()
    worker: str | None = None
    shares: tuple[Share, ...] = field(default=())

    @cached_property
    def id(self) -> UUID:
        """The same for lanes that are the same."""
        return derived_id(NIL, f"lane:{self.text()}")

    @cached_property
    def needs(self) -> "Needs":
        """What a worker must have to serve it."""
        return Needs(self.pool, self.executor, self.labels, self.worker)

    @cached_property
    def scopes(self) -> tuple[str, ...]:
        """The limits that count its tasks."""
        return (f"namespace:{self.namespace}", f"pool:{self.pool}", *(share.scope for share in self.shares))

    @property
    def crowd(self) -> str | None:
        """The scope in which a task is cancelled rather than have one of this lane wait."""
        return next((share.scope for share in self.shares if share.when_full != "queue"), None)

    def facts(self) -> dict[str, Any]:
        """All of it but what is usual, as JSON has it."""
        said: dict[str, Any] = {"namespace": self.namespace, "pool": self.pool, "executor": self.executor}
        if self.labels:
            said["labels"] = dict(self.labels)
        if self.worker is not None:
            said["worker"] = self.worker
        if self.shares:
            said["shares"] = [[share.scope, share.limit, share.when_full] for share in self.shares]
        return said

    def text(self) -> str:
        """What tells it from every other lane."""
        return repr(sorted(self.facts().items()))


@dataclass(frozen=True, slots=True)
class Needs:
    """What tasks of some lanes need of a worker."""

    pool: str
    executor: str
    labels: tuple[tuple[str, str], ...] = ()
    worker: str | None = None


def lane_of(namespace: str, queued: TaskQueued, worker: str | None = None) -> Lane:
    """The lane of a task that was queued so. `worker`: the one that ran the task it names in `same_worker_as`."""
    shares: list[Share] = []
    if queued.concurrency is not None:
        asked = queued.concurrency
        shares.append(Share(f"key:{namespace}/{asked.key}", asked.limit, asked.when_full))
    if queued.max_parallel is not None:
        shares.append(Share(f"workflow:{queued.workflow}", queued.max_parallel))
    if queued.siblings is not None:
        shares.append(Share(f"children:{queued.parent}", queued.siblings))
    labels = tuple(sorted((queued.labels or {}).items()))
    return _lane(namespace, queued.pool, queued.executor, labels, worker, tuple(shares))


# Most tasks come in few lanes: each is made, and named, once.
_lane = lru_cache(maxsize=4096)(Lane)


def lane_from(facts: dict[str, Any]) -> Lane:
    """What `facts` said."""
    return _lane(
        facts["namespace"],
        facts["pool"],
        facts["executor"],
        tuple(sorted(facts.get("labels", {}).items())),
        facts.get("worker"),
        tuple(Share(*share) for share in facts.get("shares", ())),
    )
