"""What the silence of a worker makes of the task that it held. Pure."""

from datetime import datetime

from domain import events as e
from domain.retrying import LOST, final_reason, loses
from domain.runs import after_failure, failure, given_up_on, lost, queued
from domain.task_states import Cancelling, Leased, Running, TimingOut, has_started


def lease_closed(task: Leased | Running | TimingOut | Cancelling, accepted: bool, now: datetime) -> list[e.TaskEvent]:
    accepted = accepted or has_started(task)
    expired = e.LeaseExpired(
        task_id=task.task_id,
        run_id=task.lease.run_id,
        fence=task.lease.fence,
        worker_id=task.lease.worker_id,
        accepted=accepted,
    )
    if not accepted:
        if isinstance(task, Cancelling):
            return [expired, _cancelled_unheard(task, verified=True)]
        return [expired, queued(task, "offer-not-accepted")]
    if isinstance(task, Cancelling):
        return [expired, lost(task), _cancelled_unheard(task, verified=False)]
    retry = task.facts.submitted.spec.retry
    if not isinstance(task, TimingOut) and not loses(retry, task.facts.losses):
        return [expired, lost(task), queued(task, "run-lost")]
    reason = "timeout" if isinstance(task, TimingOut) else LOST
    if following := after_failure(task, reason, None, now):
        return [expired, lost(task, following)]
    if isinstance(task, TimingOut):
        final = final_reason(retry, failure(task, reason))
        end = e.TaskFailed(task_id=task.task_id, reason=final, runs=task.facts.run, verified=False)
        return [expired, lost(task), end]
    return [expired, lost(task), given_up_on(task, LOST, verified=False)]


def _cancelled_unheard(task: Cancelling, verified: bool) -> e.TaskCancelled:
    return e.TaskCancelled(
        task_id=task.task_id,
        by=task.by,
        reason=task.reason,
        runs=task.facts.run,
        verified=verified,
        unheard=None if verified else task.lease.run_id,
    )
