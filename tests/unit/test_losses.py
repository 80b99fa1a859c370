"""Ends that say nothing of the task: a run that its worker could not start, or ended because the lease was gone."""

import pytest

from domain import events as e
from domain.reports import RunError, RunFinish
from domain.retry_spec import MAX_LOSSES
from domain.task import decide
from domain.task_states import Leased, Queued
from tests.support.ended_tasks import NOW, TASK
from tests.support.task_states import DONE, GRANT, QUEUE, RUN, STATES, after

DOWN = RunFinish(task_id=TASK, run_id=RUN, fence=1, error=RunError(code="engine-down", detail="no engine"))
ENDED = DONE.model_copy(update={"exit_code": 143, "error": RunError(code="lost")})


@pytest.mark.parametrize("code", ["engine-down", "engine-timeout", "disk-full"])
def test_a_run_that_its_worker_could_not_start_is_lost_and_another_follows(code: str) -> None:
    refused = DOWN.model_copy(update={"error": RunError(code=code)})

    lost, again = decide(STATES["leased"], refused, NOW)

    assert lost == e.RunLost(task_id="T1", run_id=RUN, run=1, fence=1, certain=True, error=RunError(code=code))
    assert isinstance(again, e.TaskQueued)
    assert again.after == "run-lost"


@pytest.mark.parametrize("state", ["leased", "running"])
def test_a_run_that_its_worker_ended_because_the_lease_was_gone_is_lost(state: str) -> None:
    *started, lost, again = decide(STATES[state], ENDED, NOW)

    assert [type(event) for event in started] == ([e.RunStarted] if state == "leased" else [])
    assert (type(lost), type(again)) == (e.RunLost, e.TaskQueued)


def test_a_disk_that_fills_up_after_the_start_is_the_end_of_the_run() -> None:
    full = DONE.model_copy(update={"error": RunError(code="disk-full")})

    assert decide(STATES["running"], full, NOW)[-1] == e.TaskFailed(
        task_id="T1", reason="disk-full", runs=1, exit_code=0
    )


def test_a_task_that_nobody_could_start_so_often_is_quarantined_for_that_reason() -> None:
    state = QUEUE
    for lost in range(MAX_LOSSES):
        run = after(state, GRANT)
        assert isinstance(run, Leased)
        state = after(state, GRANT, DOWN.model_copy(update={"run_id": run.lease.run_id, "fence": lost + 1}))
        assert isinstance(state, Queued)

    last = after(state, GRANT)
    assert isinstance(last, Leased)
    down = DOWN.model_copy(update={"run_id": last.lease.run_id, "fence": last.lease.fence})

    assert decide(last, down, NOW)[-1] == e.TaskQuarantined(task_id="T1", reason="engine-down", runs=MAX_LOSSES + 1)


@pytest.mark.parametrize("state", ["cancelling", "timing out"])
def test_a_loss_that_is_told_ends_a_task_that_is_ending(state: str) -> None:
    *_, ended = decide(STATES[state], ENDED, NOW)

    assert isinstance(ended, e.TaskCancelled if state == "cancelling" else e.TaskFailed)
    assert ended.verified
