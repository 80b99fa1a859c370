"""What each event makes of the rows of the views."""

import json
from datetime import timedelta
from typing import Any

import pytest

from domain import events as e
from domain.events import EVENTS, WorkflowEvent
from domain.reports import Artifact, LogEnd, RunError
from domain.run_view import RunView
from domain.specs import AtLeast, DependsOn, TaskSpec
from domain.task_view import TaskView
from domain.views import VIEWS, by_row, facts, fold
from domain.worker_view import WorkerView
from domain.workflow_view import WorkflowView
from tests.support.histories import (
    HELLO,
    SHA,
    TASK,
    TASK_2,
    TASK_3,
    TRACE,
    WORKER,
    WORKFLOW,
    Log,
    at,
    folded,
    leased,
    queued,
    registered,
    run_id,
    run_succeeded,
    started,
    submitted,
    succeeded,
)

LOST = e.RunLost(task_id="T1", run_id=run_id(), run=1, fence=1)
NOT_STARTED = LOST.model_copy(update={"error": RunError(code="engine-down")})
EXPIRED = e.LeaseExpired(task_id="T1", run_id=run_id(), fence=1, worker_id="W1", accepted=True)
NOT_ACCEPTED = EXPIRED.model_copy(update={"accepted": False})
CANCELLING = e.TaskCancelling(
    task_id="T1", run_id=run_id(), fence=1, worker_id="W1", grace=timedelta(seconds=10), by="bob", reason="wrong day"
)
TIMING_OUT = e.RunTimingOut(task_id="T1", run_id=run_id(), fence=1, worker_id="W1", grace=timedelta(seconds=10))
FAILED_RUN = e.RunFailed(task_id="T1", run_id=run_id(), run=1, fence=1, reason="oom", exit_code=137, oom_killed=True)
RETRIED = FAILED_RUN.model_copy(update={"retry_at": at(60)})
RETRIED_LOSS = LOST.model_copy(update={"retry_at": at(60)})
QUARANTINED = e.TaskQuarantined(task_id="T1", reason="lost", runs=1, verified=False)
PRIORITISED = e.TaskPriorityChanged(task_id="T1", priority=9, was=5)
FAILED = e.TaskFailed(task_id="T1", reason="oom", runs=1, exit_code=137)
FILLED = e.TaskFilled(task_id="T1", input={"x": 7})
UNFILLED = e.TaskFailed(task_id="T1", reason="template-missing-field", runs=0, detail="input.x: no")
ARTIFACT = Artifact(name="m", uri="s3://b/m", sha256="ab" * 32, bytes=7)
REUSED = e.TaskSucceeded(
    task_id="T1",
    runs=0,
    exit_code=0,
    result={"rows": 3},
    cached_from=e.CachedFrom(task_id="T2", stream=TASK_2, ended_at=at(1)),
)
CANCELLED = e.TaskCancelled(task_id="T1", by="bob", reason="wrong day", runs=1, verified=False, unheard=run_id())
EARLY = e.TaskBlocked(task_id="T1", by=(e.BlockerTime(until=at(60)),))
PAUSED = e.TaskPaused(task_id="T1", by="bob", reason="audit")
RESUMED = e.TaskResumed(task_id="T1", by="bob")
HELD_BACK = e.TaskBlocked(task_id="T1", by=(e.BlockerPause(),))
EXPIRED_TASK = e.TaskExpired(task_id="T1", reason="expires-at")
FORWARD = e.TaskExpired(task_id="T1", reason="forward-deadline", because="T0")
SKIPPED = e.TaskSkipped(task_id="T1", because="T0")
BLOCKED = e.TaskBlocked(task_id="T1", by=(e.Blocker(task_id="T0"),))
LATE = e.LateResultIgnored(task_id="T1", run_id=run_id(7), fence=9, report="run.finish.v1", exit_code=0)

RUNNING: list[e.Event] = [submitted(), queued(), leased(), started()]
STATUSES: list[tuple[list[e.Event], dict[str, Any]]] = [
    ([submitted()], {"status": "blocked", "run": 0}),
    ([submitted(), BLOCKED], {"status": "blocked"}),
    ([submitted(), EARLY], {"status": "blocked", "reason": "time", "waits_until": at(60)}),
    ([submitted(), EARLY, queued(after="time")], {"status": "queued", "reason": None, "waits_until": None}),
    ([submitted(), queued(), EXPIRED_TASK], {"status": "expired", "reason": "expires-at", "completed_at": at(3)}),
    ([submitted(), BLOCKED, FORWARD], {"status": "expired", "reason": "forward-deadline", "because": "T0"}),
    ([submitted(), BLOCKED, SKIPPED], {"status": "skipped", "because": "T0", "completed_at": at(3)}),
    ([submitted(), BLOCKED, queued(after="dependencies")], {"status": "queued", "reason": None, "queued_at": at(3)}),
    ([submitted(), queued()], {"status": "queued", "queued_at": at(2), "worker_id": None}),
    ([submitted(), queued(), leased()], {"status": "queued", "worker_id": "W1", "run": 1, "run_id": run_id()}),
    (RUNNING, {"status": "running", "started_at": at(4), "worker_id": "W1"}),
    ([*RUNNING, TIMING_OUT], {"status": "running", "reason": "timing-out"}),
    ([*RUNNING, run_succeeded()], {"status": "running", "exit_code": 0}),
    ([*RUNNING, run_succeeded(oom_killed=True)], {"status": "running", "exit_code": 0, "oom_killed": True}),
    ([*RUNNING, run_succeeded(), succeeded()], {"status": "succeeded", "exit_code": 0, "completed_at": at(6)}),
    ([*RUNNING, succeeded(result={"rows": 0})], {"status": "succeeded", "result": '{"rows":0}'}),
    (
        [*RUNNING, succeeded(artifacts=(ARTIFACT,))],
        {"status": "succeeded", "artifacts": f'[{{"name":"m","uri":"s3://b/m","sha256":"{"ab" * 32}","bytes":7}}]'},
    ),
    (
        [submitted(), queued(), REUSED],
        {
            "status": "succeeded",
            "result": '{"rows":3}',
            "run": 0,
            "started_at": None,
            "cached_from": f'{{"task_id":"T2","id":"{TASK_2}","ended_at":"{at(1).isoformat()[:-6]}Z"}}',
        },
    ),
    ([*RUNNING, RETRIED, queued(after="retry"), REUSED], {"status": "succeeded", "exit_code": 0, "oom_killed": False}),
    ([submitted(), BLOCKED, FILLED], {"status": "blocked", "version": 3}),
    (
        [submitted(), BLOCKED, UNFILLED],
        {"status": "failed", "detail": "input.x: no"},
    ),
    ([*RUNNING, FAILED_RUN], {"status": "running", "exit_code": 137, "oom_killed": True}),
    ([*RUNNING, FAILED_RUN, FAILED], {"status": "failed", "reason": "oom", "exit_code": 137, "verified": True}),
    (
        [*RUNNING, RETRIED],
        {"status": "blocked", "reason": "oom", "waits_until": at(60), "worker_id": None, "exit_code": 137},
    ),
    ([*RUNNING, EXPIRED, RETRIED_LOSS], {"status": "blocked", "reason": "lost", "waits_until": at(60)}),
    ([*RUNNING, RETRIED, queued(after="retry")], {"status": "queued", "reason": "retry", "waits_until": None}),
    ([*RUNNING, RETRIED, CANCELLED], {"status": "cancelled", "reason": None, "waits_until": None}),
    ([*RUNNING, EXPIRED, LOST, QUARANTINED], {"status": "quarantined", "reason": "lost", "verified": False}),
    ([submitted(), queued(), PRIORITISED], {"status": "queued", "priority": 9}),
    ([submitted(), queued(), PAUSED], {"status": "paused", "paused_by": "bob", "pause_reason": "audit"}),
    ([submitted(), BLOCKED, PAUSED, RESUMED], {"status": "blocked", "paused_by": None, "pause_reason": None}),
    ([submitted(), queued(), PAUSED, RESUMED, queued(after="pause")], {"status": "queued", "reason": None}),
    ([*RUNNING, RETRIED, PAUSED], {"status": "paused", "reason": "oom", "waits_until": at(60)}),
    ([*RUNNING, RETRIED, PAUSED, HELD_BACK], {"status": "paused", "reason": None, "waits_until": None}),
    ([submitted(), queued(), PAUSED, EXPIRED_TASK], {"status": "expired", "reason": "expires-at"}),
    ([*RUNNING, CANCELLING], {"status": "cancelling", "cancelled_by": "bob", "cancel_reason": "wrong day"}),
    ([submitted(), queued(), leased(), CANCELLING, started()], {"status": "cancelling", "started_at": at(5)}),
    ([*RUNNING, CANCELLING, CANCELLED], {"status": "cancelled", "verified": False, "completed_at": at(6)}),
    (
        [*RUNNING, EXPIRED, LOST, queued(after="run-lost")],
        {"status": "queued", "reason": "run-lost", "worker_id": None, "started_at": None, "queued_at": at(7)},
    ),
    (
        [*RUNNING, EXPIRED, LOST, queued(after="run-lost"), leased(2, 2, "W2"), started(2, 2, "W2")],
        {"status": "running", "run": 2, "run_id": run_id(2), "worker_id": "W2", "started_at": at(9)},
    ),
    ([*RUNNING, succeeded(), LATE], {"status": "succeeded", "exit_code": 0, "updated_at": at(6), "version": 6}),
]


@pytest.mark.parametrize(("events", "expected"), STATUSES)
def test_a_task_stands_as_its_last_events_say(events: list[e.Event], expected: dict[str, Any]) -> None:
    row = Log().add(TASK, *events).row("tasks", TASK)

    assert {name: getattr(row, name) for name in expected} == expected


def test_of_a_set_a_task_shows_how_many_are_needed() -> None:
    either = AtLeast(at_least=1, of=(DependsOn(task_id="T2"), DependsOn(task_id="T3", when="always")))
    spec = TaskSpec(executor="noop", depends_on=(either,))
    upstream = [{"task_id": "T2", "stream": str(TASK_2)}, {"task_id": "T3", "stream": str(TASK_3)}]

    row = Log().add(TASK, submitted(spec, depends_on=upstream)).row("tasks", TASK)

    assert isinstance(row, TaskView)
    assert json.loads(row.depends_on) == [
        {"task_id": "T2", "id": str(TASK_2), "when": "succeeded", "at_least": 1, "set": 0},
        {"task_id": "T3", "id": str(TASK_3), "when": "always", "at_least": 1, "set": 0},
    ]


def test_a_task_shows_what_its_submission_said() -> None:
    upstream = {"task_id": "T0", "stream": str(TASK_2)}
    spec = HELLO.model_copy(update={"depends_on": (DependsOn(task_id="T0", when="failed"),)})
    log = Log().add(TASK, submitted(spec, depends_on=[upstream], workflow_id="F1", workflow=str(WORKFLOW)))

    assert log.row("tasks", TASK) == TaskView(
        id=TASK,
        namespace="default",
        task_id="T1",
        name="nightly",
        status="blocked",
        priority=5,
        pool="default",
        executor="docker",
        task_type=None,
        image="busybox:1.36",
        labels={"team": "data"},
        workflow=WORKFLOW,
        workflow_id="F1",
        depends_on=json.dumps([{"task_id": "T0", "id": str(TASK_2), "when": "failed"}], separators=(",", ":")),
        spec=spec.model_dump_json(exclude_none=True),
        trace_id=TRACE,
        correlation_id="chain",
        created_at=at(1),
        updated_at=at(1),
        version=1,
        position=1,
    )


def test_a_task_of_a_type_shows_the_image_that_will_run() -> None:
    spec = TaskSpec(task_type="sleep", input={"seconds": 1})

    row = Log().add(TASK, submitted(spec, container={"image": "tallyport/busybox:dev"})).row("tasks", TASK)

    assert isinstance(row, TaskView)
    assert (row.name, row.task_type, row.image) == ("T1", "sleep", "tallyport/busybox:dev")


RUNS: list[tuple[list[e.Event], dict[str, Any]]] = [
    ([leased()], {"status": "leased", "number": 1, "fence": 1, "worker_id": "W1", "leased_at": at(3)}),
    ([leased(), started()], {"status": "running", "container_id": "4f5e", "started_at": at(4)}),
    ([leased(), started(), run_succeeded()], {"status": "succeeded", "exit_code": 0, "ended_at": at(5)}),
    ([leased(), started(), run_succeeded(oom_killed=True)], {"status": "succeeded", "oom_killed": True}),
    ([leased(), started(), TIMING_OUT], {"status": "stopping", "reason": "timing-out", "ended_at": None}),
    ([leased(), CANCELLING, started()], {"status": "stopping", "reason": "cancelling", "started_at": at(5)}),
    ([leased(), started(), EXPIRED], {"status": "running", "ended_at": None}),
    ([leased(), started(), EXPIRED, LOST], {"status": "lost", "ended_at": at(6), "exit_code": None}),
    (
        [leased(), NOT_STARTED],
        {"status": "lost", "reason": "engine-down", "error": '{"code":"engine-down","detail":""}'},
    ),
    ([leased(), NOT_ACCEPTED], {"status": "not-accepted", "ended_at": at(4)}),
    (
        [leased(), NOT_ACCEPTED, queued(after="offer-not-accepted"), leased(1, 2, "W2")],
        {"status": "leased", "fence": 2, "worker_id": "W2", "ended_at": None, "reason": None, "leased_at": at(6)},
    ),
    (
        [leased(), started(), FAILED_RUN.model_copy(update={"log": LogEnd(bytes=5120, sha256=SHA)})],
        {"status": "failed", "oom_killed": True, "log_bytes": 5120, "log_sha256": SHA, "log_truncated": False},
    ),
    (
        [leased(), run_succeeded().model_copy(update={"log": LogEnd(bytes=5120, sha256=SHA, truncated=True)})],
        {"status": "succeeded", "log_bytes": 5120, "log_truncated": True},
    ),
    (
        [leased(), FAILED_RUN.model_copy(update={"error": RunError(code="pull-failed", detail="no such image")})],
        {"error": '{"code":"pull-failed","detail":"no such image"}', "started_at": None},
    ),
    (
        [leased(), started(), CANCELLING, FAILED_RUN.model_copy(update={"reason": "cancelled", "signal": "TERM"})],
        {"status": "cancelled", "signal": "TERM", "exit_code": 137},
    ),
]


@pytest.mark.parametrize(("events", "expected"), RUNS)
def test_a_run_stands_as_the_events_that_name_it_say(events: list[e.Event], expected: dict[str, Any]) -> None:
    row = Log().add(TASK, submitted(), queued(), *events).row("runs", run_id())

    assert {name: getattr(row, name) for name in expected} == expected
    assert isinstance(row, RunView)
    assert (row.task, row.task_id, row.namespace) == (TASK, "T1", "default")


def test_a_late_report_makes_no_run() -> None:
    log = Log().add(TASK, *RUNNING, LATE)

    assert list(log.rows("runs")) == [run_id()]


def test_a_worker_may_report_more_bytes_than_a_column_holds() -> None:
    end = run_succeeded().model_copy(update={"log": LogEnd(bytes=2**64, sha256=SHA)})

    row = Log().add(TASK, *RUNNING, end).row("runs", run_id())

    assert isinstance(row, RunView)
    assert row.log_bytes == 2**63 - 1


def test_each_run_of_a_task_keeps_its_own_row() -> None:
    log = Log().add(TASK, *RUNNING, EXPIRED, LOST, queued(after="run-lost"), leased(2, 2, "W2"))

    runs = log.rows("runs").values()

    assert [(row.number, row.status, row.fence) for row in runs if isinstance(row, RunView)] == [
        (1, "lost", 1),
        (2, "leased", 2),
    ]


GRAPH = e.WorkflowSubmitted(
    workflow_id="F1",
    tasks=(e.Node(task_id="a", stream=TASK_2), e.Node(task_id="b", stream=TASK_3, depends_on=("a",))),
)
ABANDONED = e.WorkflowCancelled(workflow_id="F1", by="bob", reason="wrong day")
WORKFLOWS: list[tuple[list[WorkflowEvent], dict[str, Any]]] = [
    ([GRAPH], {"status": "running", "tasks": 2, "completed_at": None}),
    ([GRAPH, ABANDONED], {"status": "cancelled", "cancelled_by": "bob", "completed_at": None}),
    ([GRAPH, e.WorkflowFinished(workflow_id="F1", succeeded=2)], {"status": "succeeded", "completed_at": at(2)}),
    ([GRAPH, e.WorkflowFinished(workflow_id="F1", succeeded=1, skipped=1)], {"status": "failed"}),
    (
        [GRAPH, ABANDONED, e.WorkflowFinished(workflow_id="F1", succeeded=1, cancelled=1)],
        {"status": "cancelled", "completed_at": at(3), "cancel_reason": "wrong day"},
    ),
]


@pytest.mark.parametrize(("events", "expected"), WORKFLOWS)
def test_a_workflow_stands_as_its_own_events_say(events: list[WorkflowEvent], expected: dict[str, Any]) -> None:
    row = Log().add(WORKFLOW, *events).row("workflows", WORKFLOW)

    assert {name: getattr(row, name) for name in expected} == expected


def test_a_workflow_keeps_its_graph() -> None:
    row = Log().add(WORKFLOW, GRAPH).row("workflows", WORKFLOW)

    assert isinstance(row, WorkflowView)
    assert json.loads(row.nodes) == [
        {"task_id": "a", "id": str(TASK_2), "depends_on": []},
        {"task_id": "b", "id": str(TASK_3), "depends_on": ["a"]},
    ]


def test_a_worker_is_live_from_its_registration_until_it_is_lost() -> None:
    log = Log().add(WORKER, registered(), e.WorkerLost(worker_id="W1", generation=1), registered(2), namespace="_")

    rows = [folded("workers", log.events[:n])[WORKER] for n in (1, 2, 3)]

    one, two, three = (row for row in rows if isinstance(row, WorkerView))
    assert (one.status, one.generation, one.registered_at) == ("live", 1, at(1))
    assert (two.status, two.lost_at) == ("lost", at(2))
    assert (three.status, three.generation, three.registered_at, three.lost_at) == ("live", 2, at(3), None)


def test_a_worker_is_draining_until_it_is_started_whatever_becomes_of_its_process() -> None:
    draining = e.WorkerDraining(worker_id="W1", by="alice", reason="a new disk")
    lost, serving = e.WorkerLost(worker_id="W1", generation=1), e.WorkerServing(worker_id="W1", by="bob")
    log = Log().add(WORKER, registered(), draining, lost, registered(2), serving, namespace="_")

    rows = [folded("workers", log.events[:n])[WORKER] for n in range(1, 6)]

    assert [row.status for row in rows if isinstance(row, WorkerView)] == [
        "live",
        "draining",
        "lost",
        "draining",
        "live",
    ]
    assert [(row.drained_by, row.drain_reason) for row in rows if isinstance(row, WorkerView)] == [
        (None, None),
        *[("alice", "a new disk")] * 3,
        (None, None),
    ]


def test_events_that_a_row_holds_already_change_nothing() -> None:
    log = Log().add(TASK, *RUNNING)
    rows = log.rows("tasks")

    assert fold(VIEWS["tasks"], rows, by_row(VIEWS["tasks"], facts(log.events))) == {}


def test_a_stream_cannot_begin_in_its_middle() -> None:
    log = Log().add(TASK, queued())

    with pytest.raises(ValueError, match="before task"):
        log.rows("tasks")


def test_every_event_of_tasks_workflows_and_workers_has_a_view() -> None:
    viewed = frozenset[str]().union(*(view.types for view in VIEWS.values()))

    assert {name for name in EVENTS if name.split(".")[0] in ("task", "workflow", "worker")} <= viewed
