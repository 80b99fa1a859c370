"""How a run ends by report, and what that makes of its task. Pure."""

from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from domain import events as e
from domain.caching import kept
from domain.reports import RunFinish, RunReport, RunStart
from domain.retrying import LOST, Failure, NextRun, final_reason, is_loss, loses, next_run, reason_of, retries
from domain.task_states import Cancelling, Held, Leased, Running, Task, TimingOut, has_started

After: TypeAlias = Literal["dependencies", "offer-not-accepted", "run-lost", "retry", "time", "pause"]


def queued(task: Task, after: After) -> e.TaskQueued:
    again = queued_as(task.facts.submitted)
    return again.model_copy(update={"after": after, "priority": task.priority})


def queued_as(submitted: e.TaskSubmitted) -> e.TaskQueued:
    """A task's first place in the queue, as its user wants it."""
    spec, same, child = submitted.spec, submitted.spec.requires.same_worker_as, submitted.child_of
    return e.TaskQueued(
        task_id=submitted.task_id,
        pool=spec.requires.pool,
        executor=spec.executor,
        priority=spec.priority,
        timeout=spec.timeouts.queue,
        expires_at=spec.expires_at,
        labels=spec.requires.labels,
        same_worker_as=next((one.stream for one in submitted.depends_on if one.task_id == same), None),
        concurrency=spec.concurrency,
        workflow=(submitted.workflow or (child and child.workflow)) if submitted.max_parallel else None,
        max_parallel=submitted.max_parallel,
        cache=spec.cache,
        parent=child.stream if child and child.max_parallel else None,
        siblings=child.max_parallel if child else None,
    )


def cancelling(task: Held, grace: timedelta | None, by: str, reason: str | None) -> list[e.TaskEvent]:
    """Of further cancellations one counts that leaves it less time."""
    if isinstance(task, Cancelling) and (grace is None or grace >= task.grace):
        return []
    return [
        e.TaskCancelling(
            task_id=task.task_id,
            run_id=task.lease.run_id,
            fence=task.lease.fence,
            worker_id=task.lease.worker_id,
            grace=task.facts.submitted.timeouts.stop if grace is None else grace,
            by=by,
            reason=reason,
        )
    ]


def timing_out(task: Held) -> e.RunTimingOut:
    return e.RunTimingOut(
        task_id=task.task_id,
        run_id=task.lease.run_id,
        fence=task.lease.fence,
        worker_id=task.lease.worker_id,
        grace=task.facts.submitted.timeouts.stop,
    )


def late(task: Task, report: RunReport) -> e.LateResultIgnored:
    return e.LateResultIgnored(
        task_id=task.task_id,
        run_id=report.run_id,
        fence=report.fence,
        report="run.start.v1" if isinstance(report, RunStart) else "run.finish.v1",
        exit_code=report.exit_code if isinstance(report, RunFinish) else None,
    )


def reported(task: Leased | Running | TimingOut | Cancelling, report: RunReport, now: datetime) -> list[e.TaskEvent]:
    if (report.run_id, report.fence) != (task.lease.run_id, task.lease.fence):
        return [late(task, report)]
    started = [_started(task, report)] if not has_started(task) and _did_start(report) else []
    if isinstance(report, RunStart):
        return [*started]
    return [*started, *_finished(task, report, now)]


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


def _finished(task: Leased | Running | TimingOut | Cancelling, finish: RunFinish, now: datetime) -> list[e.TaskEvent]:
    if isinstance(task, Leased | Running) and is_loss(finish):
        return _given_up(task, finish, now)
    reason = reason_of(finish, timed_out=isinstance(task, TimingOut))
    if reason is None:
        return [_run_succeeded(task, finish), _end(task, finish, reason)]
    following = None if isinstance(task, Cancelling) else after_failure(task, reason, finish.exit_code, now)
    failed = _run_failed(task, finish, reason, following)
    return [failed] if following else [failed, _end(task, finish, reason)]


def failure(task: Held, reason: str, exit_code: int | None = None) -> Failure:
    """The run in hand as one that failed."""
    return Failure(task.lease.run_id, task.facts.failures + 1, reason, exit_code)


def after_failure(task: Held, reason: str, exit_code: int | None, now: datetime) -> NextRun | None:
    """What follows when the run in hand has failed so; nothing follows the fallback."""
    retry = task.facts.submitted.spec.retry
    return None if task.facts.fallback else next_run(retry, failure(task, reason, exit_code), now)


def _given_up(task: Leased | Running, finish: RunFinish, now: datetime) -> list[e.TaskEvent]:
    """As if the worker had been lost, but known at once, and with a reason."""
    if not loses(task.facts.submitted.spec.retry, task.facts.losses):
        return [lost(task, None, finish), queued(task, "run-lost")]
    following = after_failure(task, LOST, None, now)
    ended = lost(task, following, finish)
    if following:
        return [ended]
    reason = reason_of(finish, timed_out=False) or LOST
    return [ended, given_up_on(task, reason, verified=finish.gone)]


def given_up_on(task: Held, reason: str, verified: bool) -> e.TaskFailed | e.TaskQuarantined:
    """The end of a task after its last loss: it has failed where a loss counts as a failure."""
    runs, retry, last = task.facts.run, task.facts.submitted.spec.retry, failure(task, LOST)
    if retries(retry, last):
        return e.TaskFailed(task_id=task.task_id, reason=final_reason(retry, last), runs=runs, verified=verified)
    return e.TaskQuarantined(task_id=task.task_id, reason=reason, runs=runs, verified=verified)


def lost(task: Held, following: NextRun | None = None, finish: RunFinish | None = None) -> e.RunLost:
    lease = task.lease
    return e.RunLost(
        task_id=task.task_id,
        run_id=lease.run_id,
        run=lease.run,
        fence=lease.fence,
        certain=finish is not None and finish.gone,
        error=finish.error if finish else None,
        retry_at=following.at if following else None,
        fallback=following.fallback if following else None,
    )


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


def _run_failed(task: Held, finish: RunFinish, reason: str, following: NextRun | None) -> e.RunFailed:
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
        retry_at=following.at if following else None,
        fallback=following.fallback if following else None,
        verified=False if following and not finish.gone else None,
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
            task_id=task.task_id,
            runs=task.facts.run,
            exit_code=finish.exit_code,
            result=finish.result,
            artifacts=finish.artifacts or None,
            cache=None if finish.oom_killed else kept(task.facts),
        )
    return e.TaskFailed(
        task_id=task.task_id,
        reason=final_reason(task.facts.submitted.spec.retry, failure(task, reason, finish.exit_code)),
        runs=task.facts.run,
        exit_code=finish.exit_code,
        verified=finish.gone,
    )
