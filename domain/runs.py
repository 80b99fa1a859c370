"""How a run ends, and what that makes of its task: by report, or by silence. Pure."""

from typing import Literal, TypeAlias

from domain import events as e
from domain.reports import RunFinish, RunReport, RunStart
from domain.retrying import MAX_LOSSES, is_loss, reason_of
from domain.task_states import Cancelling, Held, Leased, Running, Task, TimingOut

After: TypeAlias = Literal["dependencies", "offer-not-accepted", "run-lost"]


def queued(task: Task, after: After) -> e.TaskQueued:
    spec = task.facts.submitted.spec
    return e.TaskQueued(
        task_id=task.task_id,
        pool=spec.requires.pool,
        executor=spec.executor,
        priority=spec.priority,
        after=after,
    )


def late(task: Task, report: RunReport) -> e.LateResultIgnored:
    return e.LateResultIgnored(
        task_id=task.task_id,
        run_id=report.run_id,
        fence=report.fence,
        report="run.start.v1" if isinstance(report, RunStart) else "run.finish.v1",
        exit_code=report.exit_code if isinstance(report, RunFinish) else None,
    )


def reported(task: Leased | Running | TimingOut | Cancelling, report: RunReport) -> list[e.TaskEvent]:
    if (report.run_id, report.fence) != (task.lease.run_id, task.lease.fence):
        return [late(task, report)]
    unstarted = isinstance(task, Leased) or (isinstance(task, Cancelling) and not task.started)
    started = [_started(task, report)] if unstarted and _did_start(report) else []
    if isinstance(report, RunStart):
        return [*started]
    return [*started, *_finished(task, report)]


def _did_start(report: RunReport) -> bool:
    return isinstance(report, RunStart) or report.container_id is not None or report.error is None


def _started(task: Held, report: RunReport) -> e.RunStarted:
    lease = task.lease
    return e.RunStarted(
        task_id=task.task_id,
        run_id=lease.run_id,
        run=lease.run,
        fence=lease.fence,
        worker_id=lease.worker_id,
        container_id=report.container_id,
        image_digest=report.image_digest,
    )


def _finished(task: Leased | Running | TimingOut | Cancelling, finish: RunFinish) -> list[e.TaskEvent]:
    if isinstance(task, Leased | Running) and is_loss(finish):
        return _given_up(task, finish)
    reason = reason_of(finish, timed_out=isinstance(task, TimingOut))
    if reason is None:
        return [_run_succeeded(task, finish), _end(task, finish, reason)]
    return [_run_failed(task, finish, reason), _end(task, finish, reason)]


def _given_up(task: Leased | Running, finish: RunFinish) -> list[e.TaskEvent]:
    """As if the worker had been lost, but known at once, and with a reason."""
    lease = task.lease
    lost = e.RunLost(
        task_id=task.task_id,
        run_id=lease.run_id,
        run=lease.run,
        fence=lease.fence,
        certain=finish.gone,
        error=finish.error,
    )
    if task.facts.losses >= MAX_LOSSES:
        return [lost, _end(task, finish, reason_of(finish, timed_out=False))]
    return [lost, queued(task, "run-lost")]


def _run_succeeded(task: Held, finish: RunFinish) -> e.RunSucceeded:
    lease = task.lease
    return e.RunSucceeded(
        task_id=task.task_id,
        run_id=lease.run_id,
        run=lease.run,
        fence=lease.fence,
        exit_code=finish.exit_code,
        oom_killed=finish.oom_killed or None,
        log=finish.log,
    )


def _run_failed(task: Held, finish: RunFinish, reason: str) -> e.RunFailed:
    lease = task.lease
    return e.RunFailed(
        task_id=task.task_id,
        run_id=lease.run_id,
        run=lease.run,
        fence=lease.fence,
        reason="cancelled" if isinstance(task, Cancelling) else reason,
        exit_code=finish.exit_code,
        oom_killed=finish.oom_killed,
        signal=finish.signal,
        error=finish.error,
        log=finish.log,
    )


def _end(task: Leased | Running | TimingOut | Cancelling, finish: RunFinish, reason: str | None) -> e.TaskEvent:
    if isinstance(task, Cancelling):
        return e.TaskCancelled(
            task_id=task.task_id,
            by=task.by,
            reason=task.reason,
            runs=task.facts.run,
            exit_code=finish.exit_code,
            verified=finish.gone,
            unheard=None if finish.gone else task.lease.run_id,
        )
    if reason is None:
        return e.TaskSucceeded(
            task_id=task.task_id, runs=task.facts.run, exit_code=finish.exit_code, result=finish.result
        )
    return e.TaskFailed(
        task_id=task.task_id,
        reason=reason,
        runs=task.facts.run,
        exit_code=finish.exit_code,
        verified=finish.gone,
    )


def lease_closed(task: Leased | Running | TimingOut | Cancelling, accepted: bool) -> list[e.TaskEvent]:
    lease = task.lease
    accepted = accepted or _seen_running(task)
    expired = e.LeaseExpired(
        task_id=task.task_id,
        run_id=lease.run_id,
        fence=lease.fence,
        worker_id=lease.worker_id,
        accepted=accepted,
    )
    if not accepted:
        return [
            expired,
            _cancelled_unheard(task, verified=True) if isinstance(task, Cancelling) else _offer_again(task),
        ]
    lost = e.RunLost(task_id=task.task_id, run_id=lease.run_id, run=lease.run, fence=lease.fence)
    if isinstance(task, Cancelling):
        return [expired, lost, _cancelled_unheard(task, verified=False)]
    if isinstance(task, TimingOut):
        return [
            expired,
            lost,
            e.TaskFailed(task_id=task.task_id, reason="timeout", runs=task.facts.run, verified=False),
        ]
    if task.facts.losses >= MAX_LOSSES:
        return [
            expired,
            lost,
            e.TaskFailed(task_id=task.task_id, reason="lost", runs=task.facts.run, verified=False),
        ]
    return [expired, lost, queued(task, "run-lost")]


def _seen_running(task: Held) -> bool:
    """A report of its start says as much as a beat that lists the run."""
    return task.started if isinstance(task, Cancelling) else not isinstance(task, Leased)


def _offer_again(task: Task) -> e.TaskQueued:
    return queued(task, "offer-not-accepted")


def _cancelled_unheard(task: Cancelling, verified: bool) -> e.TaskCancelled:
    return e.TaskCancelled(
        task_id=task.task_id,
        by=task.by,
        reason=task.reason,
        runs=task.facts.run,
        verified=verified,
        unheard=None if verified else task.lease.run_id,
    )
