"""A task in each of its states, and the commands and reports that take it there."""

from datetime import timedelta
from uuid import UUID

from domain import events as e
from domain.ids import derived_id
from domain.reports import RunError, RunFinish, RunStart
from domain.retry_spec import Retry
from domain.specs import TaskSpec
from domain.task import Cancel, CloseLease, Decision, Free, Grant, Pause, TimeOut, decide
from domain.task_states import Task, evolve
from domain.templates import Known
from tests.support.ended_tasks import NOW, TASK

RUN = derived_id(TASK, "run:1")
GRANT = Grant("W1", 3, beat=812, age=timedelta(seconds=1.4))
START = RunStart(task_id=TASK, run_id=RUN, fence=1, container_id="c1")
DONE = RunFinish(task_id=TASK, run_id=RUN, fence=1, container_id="c1", exit_code=0)
FAILED = RunFinish(task_id=TASK, run_id=RUN, fence=1, container_id="c1", exit_code=3)
REFUSED = RunFinish(task_id=TASK, run_id=RUN, fence=1, error=RunError(code="image-missing"))
STALE = RunFinish(task_id=TASK, run_id=RUN, fence=9, container_id="c1", exit_code=0)
SUBMITTED = e.TaskSubmitted(task_id="T1", spec=TaskSpec(executor="noop"))
NEEDY = e.TaskSubmitted(
    task_id="T1", spec=TaskSpec(executor="noop"), depends_on=(e.Upstream(task_id="T0", stream=UUID(int=7)),)
)
RETRYING = e.TaskSubmitted(
    task_id="T1",
    spec=TaskSpec(
        executor="noop", retry=Retry(max_runs=2, first=timedelta(seconds=10), on=("exit-nonzero", "timeout", "lost"))
    ),
)
READING = e.TaskSubmitted(
    task_id="T1",
    spec=TaskSpec(executor="noop", input={"rows": "{{tasks.T0.result.rows}}"}, retry=RETRYING.spec.retry),
    depends_on=NEEDY.depends_on,
    reads=("T0",),
)
EACH = e.TaskSubmitted(
    task_id="T1",
    spec=TaskSpec.model_validate(
        {"for_each": {"items": "{{tasks.T0.result.items}}", "task": {"executor": "noop"}}}, strict=False
    ),
    depends_on=NEEDY.depends_on,
    reads=("T0",),
)
KNOWN = {"T0": Known("succeeded", 0, {"rows": 7, "items": ["x", "y"]})}
QUEUED = e.TaskQueued(task_id="T1", pool="default", executor="noop", priority=5)


def fold(*events: e.Event) -> Task:
    state: Task | None = None
    for event in events:
        state = evolve(state, TASK, event)
    assert state is not None
    return state


def after(state: Task, *commands: Decision) -> Task:
    """`state` after what these commands add."""
    for command in commands:
        for event in decide(state, command, NOW):
            state = evolve(state, TASK, event)
    return state


QUEUE = fold(SUBMITTED, QUEUED)
BLOCKED = fold(NEEDY, e.TaskBlocked(task_id="T1", by=(e.Blocker(task_id="T0"),)))
READER = fold(READING, e.TaskBlocked(task_id="T1", by=(e.Blocker(task_id="T0"),)))
EACH_BLOCKED = fold(EACH, e.TaskBlocked(task_id="T1", by=(e.Blocker(task_id="T0"),)))
STATES: dict[str, Task] = {
    "blocked": BLOCKED,
    "reading": READER,
    "queued": QUEUE,
    "leased": after(QUEUE, GRANT),
    "running": after(QUEUE, GRANT, START),
    "timing out": after(QUEUE, GRANT, START, TimeOut(1)),
    "cancelling": after(QUEUE, GRANT, Cancel("alice")),
    "cancelling, started": after(QUEUE, GRANT, START, Cancel("alice")),
    "retrying": fold(RETRYING, QUEUED),
    "delayed": after(fold(RETRYING, QUEUED), GRANT, START, FAILED),
    "paused": after(QUEUE, Pause("bob")),
    "paused, offered before": after(QUEUE, GRANT, CloseLease(1, accepted=False), Pause("bob")),
    "paused, blocked": after(BLOCKED, Pause("bob")),
    "paused, reading": after(READER, Pause("bob")),
    "paused, delayed": after(fold(RETRYING, QUEUED), GRANT, START, FAILED, Pause("bob")),
    "ended": after(QUEUE, GRANT, DONE),
    "to be spread": EACH_BLOCKED,
    "to be spread, paused": after(EACH_BLOCKED, Pause("bob"), Free(KNOWN)),
    "spread": after(EACH_BLOCKED, Free(KNOWN)),
    "recalled": after(EACH_BLOCKED, Free(KNOWN), Cancel("alice")),
}
