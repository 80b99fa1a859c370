"""Which failed runs are followed by another, when, and what the end of the last one is called."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain import events as e
from domain.ids import derived_id
from domain.messages import field_path
from domain.reports import RunError, RunFinish, RunStart
from domain.retry_spec import Fallback, Retry
from domain.retrying import Failure, wait_after
from domain.specs import Container, TaskSpec
from domain.task import CloseLease, TimeOut, Wake, decide
from domain.task_states import Delayed, Ended, Held, Queued, Task
from tests.support.ended_tasks import NOW, TASK
from tests.support.task_states import GRANT, QUEUED, after, fold

CONTAINER = Container(image="busybox", command=("false",))
DOWN: dict[str, Any] = {"container_id": None, "exit_code": None, "error": RunError(code="engine-down")}
FAILS: dict[str, dict[str, Any]] = {
    "exit-nonzero": {"exit_code": 3},
    "oom": {"exit_code": 137, "oom_killed": True},
    "pull-failed": {"container_id": None, "exit_code": None, "error": RunError(code="pull-failed")},
    "image-missing": {"container_id": None, "exit_code": None, "error": RunError(code="image-missing")},
    "result-invalid": {"exit_code": 0, "error": RunError(code="result-invalid")},
    "unknown-outcome": {"exit_code": None},
}


def submitted(retry: Retry | None) -> Task:
    return fold(e.TaskSubmitted(task_id="T1", spec=TaskSpec(container=CONTAINER, retry=retry)), QUEUED)


def finish(state: Task, **how: Any) -> RunFinish:
    assert isinstance(state, Held)
    return RunFinish.model_validate(
        {"task_id": TASK, "run_id": state.lease.run_id, "fence": state.lease.fence, "container_id": "c1", **how}
    )


def leased(state: Task) -> Task:
    """A task that is queued, or delayed, with a worker."""
    return after(state, GRANT) if isinstance(state, Queued) else after(state, Wake(state.facts.fence), GRANT)


def failed(state: Task, **how: Any) -> Task:
    """After its next run, which ends so."""
    held = leased(state)
    return after(held, finish(held, **{"exit_code": 3, **how}))


@pytest.mark.parametrize("reason", list(FAILS))
@pytest.mark.parametrize("on", ["exit-nonzero", "oom", "timeout", "pull-failed", "lost"])
def test_a_run_that_failed_for_a_reason_that_is_named_is_followed_by_another_and_for_no_other(
    reason: str, on: str
) -> None:
    held = leased(submitted(Retry(on=(on,))))

    last = decide(held, finish(held, **FAILS[reason]), NOW)[-1]

    assert (isinstance(last, e.RunFailed) and last.retry_at is not None) is (reason == on)
    assert isinstance(last, e.RunFailed) or last == e.TaskFailed(
        task_id="T1", reason=reason, runs=1, exit_code=FAILS[reason]["exit_code"]
    )


@pytest.mark.parametrize(
    ("on", "codes"),
    [("exit:3", {3}), ("exit:64-66", {64, 65, 66}), ("exit:255", {255}), ("exit-nonzero", {*range(1, 256)})],
)
def test_exit_codes_are_named_one_by_one_or_as_a_range(on: str, codes: set[int]) -> None:
    held = leased(submitted(Retry(on=(on,))))

    followed = {code for code in range(1, 256) if isinstance(after(held, finish(held, exit_code=code)), Delayed)}

    assert followed == codes


def test_without_a_policy_the_first_failure_is_the_last() -> None:
    assert isinstance(failed(submitted(None)), Ended)


def test_a_task_fails_with_the_last_of_its_runs_as_exhausted() -> None:
    state = submitted(Retry(max_runs=3))
    for _ in range(2):
        state = failed(state)
        assert isinstance(state, Delayed)

    held = leased(state)

    assert decide(held, finish(held, exit_code=3), NOW)[-1] == e.TaskFailed(
        task_id="T1", reason="retries-exhausted", runs=3, exit_code=3
    )


def test_a_task_whose_second_run_succeeds_has_succeeded() -> None:
    held = leased(failed(submitted(Retry())))

    assert decide(held, finish(held, exit_code=0), NOW)[-1] == e.TaskSucceeded(task_id="T1", runs=2, exit_code=0)


def test_a_reason_that_is_not_named_ends_a_task_that_was_tried_again() -> None:
    held = leased(failed(submitted(Retry(on=("exit:3",)))))

    assert decide(held, finish(held, exit_code=4), NOW)[-1] == e.TaskFailed(
        task_id="T1", reason="exit-nonzero", runs=2, exit_code=4
    )


def test_runs_that_fail_and_runs_that_are_lost_have_budgets_of_their_own() -> None:
    state = submitted(Retry(max_runs=2, max_losses=2))
    for _ in range(2):
        held = leased(state)
        state = after(held, CloseLease(held.facts.fence, accepted=True))
        assert isinstance(state, Queued)
    state = failed(state)
    assert isinstance(state, Delayed)

    held = leased(state)
    ended = decide(held, finish(held, **DOWN), NOW)

    assert [type(event) for event in ended] == [e.RunLost, e.TaskQuarantined]
    assert (held.facts.losses, held.facts.failures) == (2, 1)


def test_a_loss_beyond_its_budget_counts_as_a_failure_where_lost_is_named() -> None:
    held = leased(submitted(Retry(max_runs=2, max_losses=0, on=("lost",))))

    for end in (finish(held, **DOWN), CloseLease(1, accepted=True)):
        *_, lost = decide(held, end, NOW)
        assert isinstance(lost, e.RunLost)
        assert lost.retry_at is not None
        again = leased(after(held, end))
        assert (again.facts.failures, again.facts.losses, again.facts.run) == (1, 1, 2)
        assert isinstance(after(again, CloseLease(2, accepted=True)), Ended)


@pytest.mark.parametrize("heard", [True, False])
def test_a_run_past_its_time_is_followed_by_another_where_timeout_is_named(heard: bool) -> None:
    held = leased(submitted(Retry(on=("timeout",))))
    stopping = after(
        held, RunStart(task_id=TASK, run_id=derived_id(TASK, "run:1"), fence=1, container_id="c1"), TimeOut(1)
    )

    ended = decide(stopping, finish(stopping, exit_code=143) if heard else CloseLease(1, accepted=True), NOW)

    assert isinstance(ended[-1], e.RunFailed | e.RunLost)
    assert ended[-1].retry_at is not None


def test_the_last_run_of_all_has_another_image_or_command_and_none_follows_it() -> None:
    state = failed(submitted(Retry(max_runs=2, fallback=Fallback(image="debian"))))
    held = leased(state)
    (last,) = decide(held, finish(held, exit_code=3), NOW)[-1:]
    assert isinstance(last, e.RunFailed)
    assert (last.retry_at, last.fallback) == (NOW, True)

    queued = after(held, finish(held, exit_code=3), Wake(2))
    (lease,) = decide(queued, GRANT, NOW)
    assert isinstance(lease, e.RunLeased)
    assert (lease.run, lease.fallback) == (3, True)
    instead = leased(queued)
    assert isinstance(after(instead, finish(instead, exit_code=3)), Ended)


def test_a_run_that_could_never_start_has_its_fallback_too() -> None:
    held = leased(submitted(Retry(fallback=Fallback(image="debian"))))

    (failed,) = decide(held, finish(held, **FAILS["image-missing"]), NOW)

    assert isinstance(failed, e.RunFailed)
    assert failed.fallback


def test_a_lost_fallback_is_run_again_as_the_fallback() -> None:
    held = leased(failed(submitted(Retry(max_runs=1, fallback=Fallback(command=("true",))))))

    again = leased(after(held, CloseLease(2, accepted=True)))

    assert again.facts.fallback


RETRIES = st.builds(
    Retry,
    backoff=st.sampled_from(["fixed", "exponential"]),
    first=st.timedeltas(timedelta(0), timedelta(days=1)),
    max=st.timedeltas(timedelta(days=1), timedelta(days=7)),
)


def test_a_wait_longer_than_a_minute_needs_no_other_bound() -> None:
    assert Retry(first=timedelta(minutes=5)).longest == timedelta(minutes=5)
    assert Retry(first=timedelta(seconds=5)).longest == timedelta(minutes=1)


def test_a_failed_run_whose_container_was_not_seen_gone_says_so_when_another_follows() -> None:
    held = leased(submitted(Retry()))

    (unseen,) = decide(held, finish(held, exit_code=3, gone=False), NOW)[-1:]
    (seen,) = decide(held, finish(held, exit_code=3), NOW)[-1:]

    assert isinstance(unseen, e.RunFailed)
    assert isinstance(seen, e.RunFailed)
    assert (unseen.verified, seen.verified) == (False, None)


@pytest.mark.parametrize("told", [True, False])
def test_the_last_loss_that_counts_as_a_failure_exhausts_the_retries_however_it_is_known(told: bool) -> None:
    state = submitted(Retry(max_runs=2, max_losses=0, on=("lost",)))
    for fence in (1, 2):
        held = leased(state)
        end = finish(held, **DOWN) if told else CloseLease(fence, accepted=True)
        last, state = decide(held, end, NOW)[-1], after(held, end)

    assert isinstance(last, e.TaskFailed)
    assert last.reason == "retries-exhausted"


@pytest.mark.parametrize("told", [True, False])
def test_a_loss_that_counts_as_a_failure_fails_a_task_that_has_one_run(told: bool) -> None:
    held = leased(submitted(Retry(max_runs=1, max_losses=0, on=("lost",))))

    last = decide(held, finish(held, **DOWN) if told else CloseLease(1, accepted=True), NOW)[-1]

    assert isinstance(last, e.TaskFailed)
    assert last.reason == "lost"


@pytest.mark.parametrize(("on", "follows"), [("lost", True), ("oom", False)])
def test_a_loss_has_a_fallback_only_where_it_counts_as_a_failure(on: str, follows: bool) -> None:
    retry = Retry(max_runs=1, max_losses=0, on=(on,), fallback=Fallback(image="debian"))
    held = leased(submitted(retry))

    last = decide(held, CloseLease(1, accepted=True), NOW)[-1]

    assert (isinstance(last, e.RunLost) and last.fallback is True) is follows


@given(RETRIES, st.integers(1, 100), st.uuids())
def test_a_wait_is_between_half_of_its_step_and_the_whole(retry: Retry, number: int, run: Any) -> None:
    steps = min(2 ** (number - 1), 2**60) if retry.backoff == "exponential" else 1
    step = min(retry.first.total_seconds() * steps, retry.longest.total_seconds())

    waited = wait_after(retry, Failure(run, number, "oom"))

    assert step * 0.499 <= waited.total_seconds() <= step * 1.001
    assert waited == wait_after(retry, Failure(run, number, "oom"))


@pytest.mark.parametrize(
    ("given", "field", "problem"),
    [
        ({"max_runs": 0}, "max_runs", "greater than or equal to 1"),
        ({"max_runs": 101}, "max_runs", "less than or equal to 100"),
        ({"max_losses": -1}, "max_losses", "greater than or equal to 0"),
        ({"first": "PT2M", "max": "PT1M"}, "body", "first must be no longer than max"),
        ({"first": "-PT1S"}, "first", "greater than or equal to 0"),
        ({"backoff": "linear"}, "backoff", "'fixed' or 'exponential'"),
        ({"on": []}, "on", "at least 1 item"),
        ({"on": ["cancelled"]}, "on[0]", "exit-nonzero"),
        ({"on": ["exit:0"]}, "on", "exit:0: exit codes are 1 to 255"),
        ({"on": ["exit:9-3"]}, "on", "exit:9-3: exit codes are 1 to 255, the lower one first"),
        ({"on": ["exit:300"]}, "on", "exit:300: exit codes are 1 to 255"),
        ({"fallback": {}}, "fallback", "give an image, a command, or both"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_with_its_place(
    given: dict[str, object], field: str, problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem) as refused:
        Retry.model_validate(given)

    assert field_path(refused.value.errors()[0]["loc"]) == field
