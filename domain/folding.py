"""The present state of a stream, from its events. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from domain import limit, schedule, task_states, task_type, worker, workflow
from domain.recorded import Recorded


def task_of(events: Sequence[Recorded]) -> task_states.Task:
    """The task whose whole stream `events` is (at least one)."""
    state: task_states.Task | None = None
    for recorded in events:
        state = task_states.evolve(state, recorded.stream, recorded.event())
    assert state is not None, "a stream has at least one event"
    return state


def workflow_of(events: Sequence[Recorded]) -> workflow.Workflow:
    """The workflow whose whole stream `events` is (at least one)."""
    state: workflow.Workflow | None = None
    for recorded in events:
        state = workflow.evolve(state, recorded.stream, recorded.event())
    assert state is not None, "a stream has at least one event"
    return state


def worker_of(events: Sequence[Recorded]) -> worker.Worker | None:
    """The worker whose whole stream `events` is, None without events."""
    state: worker.Worker | None = None
    for recorded in events:
        state = worker.evolve(state, recorded.stream, recorded.event())
    return state


def schedule_of(events: Sequence[Recorded]) -> schedule.Schedule | None:
    """The schedule whose whole stream `events` is; None for no events."""
    state: schedule.Schedule | None = None
    for recorded in events:
        state = schedule.evolve(state, recorded.stream, recorded.event(), recorded.recorded_at)
    return state


def limit_of(events: Sequence[Recorded]) -> limit.Limit | None:
    """The limit whose whole stream `events` is, None without events."""
    state: limit.Limit | None = None
    for recorded in events:
        state = limit.evolve(state, recorded.stream, recorded.event())
    return state


def task_type_of(events: Sequence[Recorded]) -> task_type.TaskType | None:
    """The task type whose whole stream `events` is, None without events. Each event says all: only the last is read."""
    if not events:
        return None
    last = events[-1]
    return replace(task_type.evolve(None, last.stream, last.event()), version=last.version)
