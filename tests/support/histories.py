"""Histories of tasks, workflows and workers as the log holds them: fixed ids, one event a second from NOW on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain import events as e
from domain.ids import derived_id
from domain.messages import Cause
from domain.recorded import NewEvent, Recorded, new_events
from domain.reports import Artifact
from domain.specs import Container, TaskSpec
from domain.views import VIEWS, Row, Rows, by_row, facts, fold

NOW = datetime(2026, 11, 21, 3, 12, 40, tzinfo=UTC)
TASK = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7e01")
TASK_2 = UUID("0193f2a2-5c7e-7a10-8f00-3d1c5a9b7e02")
TASK_3 = UUID("0193f2a2-5c7e-7a10-8f00-3d1c5a9b7e03")
WORKFLOW = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7f01")
WORKER = derived_id(UUID(int=0), "worker:W1")
INSTANCE = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7d01")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CAUSE = Cause("chain", "command", "alice", f"00-{TRACE}-00f067aa0ba902b7-01")
SHA = "ab" * 32
HELLO = TaskSpec(
    task_id="T1",
    name="nightly",
    container=Container(image="busybox:1.36", command=("true",)),
    labels={"team": "data"},
)


def run_id(run: int = 1, task: UUID = TASK) -> UUID:
    return derived_id(task, f"run:{run}")


def submitted(spec: TaskSpec = HELLO, name: str = "T1", **more: object) -> e.TaskSubmitted:
    return e.TaskSubmitted.model_validate({"task_id": name, "spec": spec.model_dump(), **more})


def queued(name: str = "T1", after: str | None = None) -> e.TaskQueued:
    return e.TaskQueued.model_validate(
        {"task_id": name, "pool": "default", "executor": "docker", "priority": 5, "after": after}
    )


def leased(run: int = 1, fence: int = 1, worker: str = "W1", task: UUID = TASK) -> e.RunLeased:
    return e.RunLeased(
        task_id="T1",
        run_id=run_id(run, task),
        run=run,
        fence=fence,
        worker_id=worker,
        generation=1,
        beat=3,
        within=timedelta(seconds=10),
        expires_at=NOW + timedelta(seconds=12),
    )


def started(run: int = 1, fence: int = 1, worker: str = "W1", task: UUID = TASK) -> e.RunStarted:
    return e.RunStarted(
        task_id="T1", run_id=run_id(run, task), run=run, fence=fence, worker_id=worker, container_id="4f5e"
    )


def run_succeeded(run: int = 1, fence: int = 1, task: UUID = TASK, oom_killed: bool | None = None) -> e.RunSucceeded:
    return e.RunSucceeded(
        task_id="T1", run_id=run_id(run, task), run=run, fence=fence, exit_code=0, oom_killed=oom_killed
    )


def succeeded(runs: int = 1, result: object = None, artifacts: tuple[Artifact, ...] | None = None) -> e.TaskSucceeded:
    return e.TaskSucceeded(task_id="T1", runs=runs, exit_code=0, result=result, artifacts=artifacts)


def whole(task: UUID = TASK, spec: TaskSpec = HELLO, namespace: str = "default") -> list[NewEvent]:
    """A task from its submission to its success."""
    events: list[e.Event] = [
        submitted(spec, spec.task_id or str(task)),
        queued(),
        leased(task=task),
        started(task=task),
        run_succeeded(task=task),
        succeeded(),
    ]
    return new_events(task, 0, namespace, events, CAUSE)


def registered(generation: int = 1) -> e.WorkerRegistered:
    return e.WorkerRegistered(
        worker_id="W1",
        generation=generation,
        instance=INSTANCE,
        engine="engine-1",
        pool="default",
        slots=4,
        executors=("docker", "noop"),
        labels={"gpu": "0"},
        version="1.2.0",
    )


@dataclass(slots=True)
class Log:
    """A log that exists as a list: each event one position and one second after the last."""

    events: list[Recorded] = field(default_factory=list[Recorded])

    def add(self, stream: UUID, *events: e.Event, namespace: str = "default") -> "Log":
        for event in events:
            version = sum(one.stream == stream for one in self.events) + 1
            position = len(self.events) + 1
            self.events.append(
                Recorded(
                    position,
                    stream,
                    version,
                    event.TYPE,
                    event.body(),
                    derived_id(stream, f"event:{version}"),
                    at(position),
                    namespace,
                    CAUSE,
                )
            )
        return self

    def rows(self, view: str) -> Rows:
        """The rows of a view, folded from all events."""
        return folded(view, self.events)

    def row(self, view: str, key: UUID) -> Row:
        return self.rows(view)[key]


def at(position: int) -> datetime:
    """When the event at `position` of a Log was recorded."""
    return NOW + timedelta(seconds=position)


def folded(view: str, events: Sequence[Recorded]) -> Rows:
    return fold(VIEWS[view], {}, by_row(VIEWS[view], facts(events)))
