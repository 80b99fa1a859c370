"""Why a task stands where it does: all that it waits for, who has it, or why it ended. Pure.

Nothing is decided here: the answers come of the functions by which the saga and the dispatcher decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from domain import task_states
from domain.principals import OWN
from domain.recorded import Recorded
from domain.task_states import Task
from domain.task_view import TaskView, project_task

WAITS: Mapping[str, str] = {
    "pause": "It was paused: resume it.",
    "dependency": "A task that it depends on has not ended.",
    "not-submitted": "A task that it depends on was never submitted; it is waited for until a time.",
    "dependencies": "Of a set of tasks not enough have ended as they must.",
    "more-dependencies": "It depends on further tasks that have not ended, more than are shown.",
    "time": "It is not queued before a time.",
    "retry": "A run of it failed, and the next one follows at a time.",
    "to-be-queued": "All that it depends on has ended as it must; it is queued at once.",
    "to-be-skipped": "One that it depends on can no longer end as it must; it is skipped at once.",
    "to-be-expired": "It still waits after its `expires_at`, or for one that was to be submitted by now; it expires at "
    "once.",
    "dispatcher-behind": "It is queued, but the dispatcher has not read so far.",
    "limit": "As many tasks of a namespace, pool, key or workflow, or children of a task, run as may at once.",
    "rate": "As many tasks of a namespace, pool or key have started in a span as may.",
    "no-worker": "No worker of the pool offers its executor.",
    "no-label": "No worker of the pool has all the labels that it requires.",
    "worker-gone": "The worker that it must follow another task to is gone.",
    "worker-draining": "All workers that could run it are draining: they are given nothing until they are started.",
    "worker-silent": "Workers that could run it are known, but none is heard.",
    "no-slot": "All slots of the workers that could run it are taken.",
    "queue-order": "There are free slots, for tasks that go before it.",
    "fair-share": "There are free slots, for namespaces that have fewer of them.",
    "due": "Nothing stands in its way: a worker is given it at once.",
    "children": "It has become children, and not all of them have ended.",
    "children-cancelling": "It was cancelled, and with it its children; not all of them have ended.",
}
"""What a task waits for."""
HELD: Mapping[str, str] = {
    "offered": "It is offered to a worker, which has not taken it yet.",
    "starting": "A worker has taken it, fetches its image, and starts its container.",
    "running": "Its container runs.",
    "timing-out": "Its run is past its time, and is being stopped.",
    "cancelling": "It was cancelled, and its run is being stopped.",
    "worker-not-heard": "The worker that has it is not heard; its run is lost when the lease runs out.",
}
"""What a worker does with it."""
ENDED: Mapping[str, str] = {
    "succeeded": "It succeeded.",
    "cached": "An equal task had succeeded, and it took the result of that one instead of running.",
    "exit-nonzero": "Its container ended with an exit code other than 0.",
    "oom": "Its container was killed for memory.",
    "timeout": "Its run was not over in time, and was stopped.",
    "image-not-allowed": "The worker may not run its image.",
    "image-not-found": "Its image does not exist.",
    "pull-failed": "Its image could not be fetched.",
    "pull-rate-limited": "The registry lets nobody fetch so much.",
    "network-not-allowed": "The worker may not give it its network.",
    "container-refused": "The container engine refuses such a container.",
    "bad-command": "Its command does not exist in its image, or cannot be executed.",
    "name-clash": "A container of its name existed on the worker.",
    "result-invalid": "It ended well, but its result is not a JSON file.",
    "result-too-large": "It ended well, but its result is too large.",
    "artifacts-invalid": "It ended well, but its list of artifacts is not one.",
    "artifacts-too-large": "It ended well, but its list of artifacts is too large.",
    "engine-error": "The container engine failed.",
    "worker-error": "The worker failed.",
    "template-missing-field": "A template of it reads what a task that it depends on did not leave.",
    "template-too-large": "Its templates become too much when they are filled.",
    "bad-input": "Its input, with its templates filled, does not fit its task type.",
    "bad-items": "What it was to have a child for each item of is no list.",
    "too-many-items": "It would have more children than a task may have.",
    "children-failed": "Not all of its children succeeded.",
    "unknown-outcome": "Its container ended where nobody saw how.",
    "lost": "Its run was lost with its worker.",
    "failed": "It failed for another reason, which is told.",
    "retries-exhausted": "Its runs failed as often as they may.",
    "fallback-failed": "The run that stood in for those that failed has failed, too.",
    "quarantined": "Its runs were lost as often as they may: it may be what takes workers down.",
    "cancelled": "Somebody cancelled it.",
    "workflow-cancelled": "Its workflow was cancelled.",
    "parent-cancelled": "The task whose child it is was cancelled.",
    "fail-fast": "Another task of its workflow failed, and the workflow fails fast.",
    "replaced": "Its schedule has fired again, and cancels the fire before.",
    "crowded-out": "Another task has the place of its key.",
    "skipped": "A task that it depended on did not end as it must.",
    "queue-timeout": "It was in the queue for too long.",
    "expires-at": "It still waited when no run of it was to begin any more.",
    "forward-deadline": "Nobody had submitted a task that it waits for when it had waited as long as it says.",
}
"""Why a task has ended: exactly one of these."""
CODES: Mapping[str, str] = {**WAITS, **HELD, **ENDED}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, for programs by its `code` and `facts`, for people by its `detail`."""

    code: str
    detail: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Holder:
    """A task that has a place that another waits for."""

    id: UUID
    task_id: str


@dataclass(frozen=True, slots=True)
class Hold:
    """The lease of a run. `left`: seconds that it still has. `heard`: whether its worker is. `state`: of the run, as
    that worker's last beat has it."""

    accepted: bool
    left: float
    heard: bool
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """`since`: when it came to stand so. `position`: of the last event that is told of."""

    task_id: str
    id: UUID
    status: str
    since: datetime
    causes: Sequence[Reason]
    position: int

    def said(self) -> dict[str, Any]:
        """As JSON has it."""
        causes = [{"code": one.code, "detail": one.detail, **one.facts} for one in self.causes]
        whole = {"task_id": self.task_id, "id": str(self.id), "status": self.status, "since": text(self.since)}
        return {**whole, "causes": causes, "position": self.position}


def by_whom(by: str) -> str:
    """Who did it, as people know them: the parts of the platform have names in its history alone."""
    return "the platform" if by in OWN else by


def text(at: datetime) -> str:
    """A time as JSON has it."""
    return at.isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Story:
    """A task's whole stream, folded: its state, since when it is in it, its view, and the events."""

    events: Sequence[Recorded]
    task: Task
    since: datetime
    view: TaskView


def story_of(events: Sequence[Recorded]) -> Story:
    """What a stream of at least one event tells."""
    state: Task | None = None
    view: TaskView | None = None
    since = events[0].recorded_at
    for recorded in events:
        event, before = recorded.event(), type(state)
        state = task_states.evolve(state, recorded.stream, event)
        view = project_task(view, recorded, event)
        since = since if type(state) is before else recorded.recorded_at
    assert state is not None, "a stream has at least one event"
    assert view is not None, "a stream has at least one event"
    return Story(events, state, since, view)
