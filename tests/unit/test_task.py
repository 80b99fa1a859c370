"""What may be decided of a task in each of its states, and what follows."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from domain import events as e
from domain.errors import BadState
from domain.ids import derived_id
from domain.retry_spec import MAX_LOSSES
from domain.task import Cancel, CloseLease, Decision, Free, Gather, Prioritise, Skip, TimeOut, Wake, decide
from domain.task_states import Leased, Queued, evolve
from tests.support.ended_tasks import NOW, TASK
from tests.support.task_states import (
    DONE,
    FAILED,
    GRANT,
    KNOWN,
    QUEUE,
    QUEUED,
    REFUSED,
    RUN,
    STALE,
    START,
    STATES,
    after,
)

COMMANDS: dict[str, Decision] = {
    "gather": Gather({"succeeded": 2}),
    "free": Free(),
    "free, told": Free(KNOWN),
    "skip": Skip("T0"),
    "grant": GRANT,
    "not accepted": CloseLease(1, accepted=False),
    "lost": CloseLease(1, accepted=True),
    "close of another lease": CloseLease(9, accepted=True),
    "time out": TimeOut(1),
    "time out of another run": TimeOut(9),
    "wake": Wake(1),
    "wake after another run": Wake(9),
    "start": START,
    "done": DONE,
    "failed": FAILED,
    "refused": REFUSED,
    "stale": STALE,
}
LATE = ("start", "done", "failed", "refused", "stale")
TABLE: dict[tuple[str, str], str] = {
    ("blocked", "free"): "queued",
    ("blocked", "skip"): "skipped",
    ("reading", "free"): "failed",
    ("reading", "free, told"): "filled queued",
    ("reading", "skip"): "skipped",
    ("blocked", "free, told"): "queued",
    ("to be spread", "free"): "failed",
    ("to be spread", "free, told"): "spread",
    ("to be spread", "skip"): "skipped",
    ("spread", "gather"): "succeeded",
    ("recalled", "gather"): "cancelled",
    ("queued", "grant"): "run-leased",
    ("leased", "not accepted"): "lease-expired queued",
    ("leased", "lost"): "lease-expired run-lost queued",
    ("leased", "start"): "run-started",
    ("leased", "done"): "run-started run-succeeded succeeded",
    ("leased", "failed"): "run-started run-failed failed",
    ("leased", "refused"): "run-failed failed",
    ("running", "not accepted"): "lease-expired run-lost queued",
    ("running", "lost"): "lease-expired run-lost queued",
    ("running", "time out"): "run-timing-out",
    ("running", "done"): "run-succeeded succeeded",
    ("running", "failed"): "run-failed failed",
    ("running", "refused"): "run-failed failed",
    ("timing out", "not accepted"): "lease-expired run-lost failed",
    ("timing out", "lost"): "lease-expired run-lost failed",
    ("timing out", "done"): "run-failed failed",
    ("timing out", "failed"): "run-failed failed",
    ("timing out", "refused"): "run-failed failed",
    ("cancelling", "not accepted"): "lease-expired cancelled",
    ("cancelling", "lost"): "lease-expired run-lost cancelled",
    ("cancelling", "start"): "run-started",
    ("cancelling", "done"): "run-started run-succeeded cancelled",
    ("cancelling", "failed"): "run-started run-failed cancelled",
    ("cancelling", "refused"): "run-failed cancelled",
    ("cancelling, started", "not accepted"): "lease-expired run-lost cancelled",
    ("cancelling, started", "lost"): "lease-expired run-lost cancelled",
    ("cancelling, started", "done"): "run-succeeded cancelled",
    ("cancelling, started", "failed"): "run-failed cancelled",
    ("cancelling, started", "refused"): "run-failed cancelled",
    ("retrying", "grant"): "run-leased",
    ("delayed", "wake"): "queued",
    ("paused, blocked", "free"): "blocked",
    ("paused, blocked", "free, told"): "blocked",
    ("paused, reading", "free"): "failed",
    ("paused, reading", "free, told"): "filled blocked",
    ("paused, reading", "skip"): "skipped",
    ("paused, blocked", "skip"): "skipped",
    ("paused, delayed", "wake"): "blocked",
    **{
        (state, report): "late-result-ignored"
        for state in STATES
        if state in ("blocked", "reading", "queued", "retrying", "delayed", "ended", "spread", "recalled")
        or state.startswith(("paused", "to be spread"))
        for report in LATE
    },
    **{
        (state, "stale"): "late-result-ignored"
        for state in ("leased", "running", "timing out", "cancelling", "cancelling, started")
    },
}


def types(events: Sequence[e.Event]) -> str:
    return " ".join(event.TYPE.split(".")[1] for event in events)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("state", STATES)
def test_what_each_state_makes_of_each_command(state: str, command: str) -> None:
    assert types(decide(STATES[state], COMMANDS[command], NOW)) == TABLE.get((state, command), "")


@pytest.mark.parametrize(
    ("state", "becomes"),
    [
        ("blocked", "cancelled"),
        ("queued", "cancelled"),
        ("delayed", "cancelled"),
        ("leased", "cancelling"),
        ("running", "cancelling"),
        ("timing out", "cancelling"),
        ("cancelling", ""),
        ("cancelling, started", ""),
        ("to be spread", "cancelled"),
        ("spread", "recalled"),
        ("recalled", ""),
    ],
)
def test_what_each_state_makes_of_a_cancellation(state: str, becomes: str) -> None:
    assert types(decide(STATES[state], Cancel("alice"), NOW)) == becomes


def test_an_ended_task_cannot_be_cancelled_and_the_refusal_says_how_it_ended() -> None:
    with pytest.raises(BadState) as caught:
        decide(STATES["ended"], Cancel("alice"), NOW)

    assert caught.value.detail == "task T1 has already succeeded: nothing is left to cancel"


@pytest.mark.parametrize("state", [name for name in STATES if name not in ("ended", "spread", "recalled")])
def test_a_task_that_has_not_ended_can_be_given_another_priority(state: str) -> None:
    (changed,) = decide(STATES[state], Prioritise(9), NOW)

    assert changed == e.TaskPriorityChanged(task_id="T1", priority=9, was=5)
    now_nine = after(STATES[state], Prioritise(9))
    assert type(now_nine) is type(STATES[state])
    assert decide(now_nine, Prioritise(9), NOW) == []
    assert decide(now_nine, Prioritise(5), NOW) == [e.TaskPriorityChanged(task_id="T1", priority=5, was=9)]


def test_a_task_that_is_queued_again_keeps_the_priority_it_was_given() -> None:
    given = after(QUEUE, Prioritise(9), GRANT, Prioritise(8))

    *_, queued = decide(given, CloseLease(1, accepted=False), NOW)

    assert isinstance(queued, e.TaskQueued)
    assert queued.priority == 8


def test_an_ended_task_has_no_priority_to_change() -> None:
    with pytest.raises(BadState, match="task T1 has already succeeded: it waits for nothing"):
        decide(STATES["ended"], Prioritise(9), NOW)


def test_an_offer_names_the_last_beat_and_how_long_after_it_the_run_may_start() -> None:
    assert decide(QUEUE, GRANT, NOW) == [
        e.RunLeased(
            task_id="T1",
            run_id=RUN,
            run=1,
            fence=1,
            worker_id="W1",
            generation=3,
            beat=812,
            within=timedelta(seconds=11.4),
            expires_at=NOW + timedelta(seconds=12),
        )
    ]


def test_an_offer_not_accepted_is_made_again_as_the_same_run_with_the_next_fence() -> None:
    again = after(QUEUE, GRANT, CloseLease(1, accepted=False), GRANT)

    assert isinstance(again, Leased)
    assert (again.lease.run_id, again.lease.run, again.lease.fence) == (RUN, 1, 2)


def test_a_lost_run_is_followed_by_a_new_run() -> None:
    again = after(QUEUE, GRANT, CloseLease(1, accepted=True), GRANT)

    assert isinstance(again, Leased)
    assert (again.lease.run_id, again.lease.run, again.lease.fence) == (derived_id(TASK, "run:2"), 2, 2)


def test_a_late_report_does_not_make_an_offer_a_new_run() -> None:
    again = after(QUEUE, GRANT, CloseLease(1, accepted=False), STALE, GRANT)

    assert isinstance(again, Leased)
    assert (again.lease.run, again.lease.fence) == (1, 2)


def test_a_run_is_lost_so_often_and_then_its_task_fails() -> None:
    state = QUEUE
    for lost in range(MAX_LOSSES):
        state = after(state, GRANT, CloseLease(lost + 1, accepted=True))
        assert isinstance(state, Queued)

    last = after(state, GRANT)

    assert decide(last, CloseLease(MAX_LOSSES + 1, accepted=True), NOW)[-1] == e.TaskQuarantined(
        task_id="T1", reason="lost", runs=MAX_LOSSES + 1, verified=False
    )


def test_a_cancelled_run_that_had_started_and_fell_silent_is_not_said_to_be_gone() -> None:
    expired, lost, cancelled = decide(STATES["cancelling, started"], CloseLease(1, accepted=False), NOW)

    assert expired == e.LeaseExpired(task_id="T1", run_id=RUN, fence=1, worker_id="W1", accepted=True)
    assert lost == e.RunLost(task_id="T1", run_id=RUN, run=1, fence=1)
    assert cancelled == e.TaskCancelled(task_id="T1", by="alice", runs=1, verified=False, unheard=RUN)


def test_a_cancelled_offer_that_was_never_accepted_ran_nowhere() -> None:
    _, cancelled = decide(STATES["cancelling"], CloseLease(1, accepted=False), NOW)

    assert cancelled == e.TaskCancelled(task_id="T1", by="alice", runs=1)


def test_a_cancelled_run_keeps_its_exit_code() -> None:
    *_, cancelled = decide(STATES["cancelling, started"], FAILED, NOW)

    assert cancelled == e.TaskCancelled(task_id="T1", by="alice", runs=1, exit_code=3)


def test_a_run_stopped_for_its_time_is_a_timeout_whatever_its_exit_code() -> None:
    run, task = decide(STATES["timing out"], DONE, NOW)

    assert run == e.RunFailed(task_id="T1", run_id=RUN, run=1, fence=1, reason="timeout", exit_code=0)
    assert task == e.TaskFailed(task_id="T1", reason="timeout", runs=1, exit_code=0)


def test_a_run_that_got_over_the_killing_of_a_process_for_memory_succeeds_and_says_so() -> None:
    run, task = decide(STATES["running"], DONE.model_copy(update={"oom_killed": True}), NOW)

    assert run == e.RunSucceeded(task_id="T1", run_id=RUN, run=1, fence=1, exit_code=0, oom_killed=True)
    assert task == e.TaskSucceeded(task_id="T1", runs=1, exit_code=0)


@pytest.mark.parametrize("grace", [None, timedelta(0), timedelta(minutes=1)])
def test_the_grace_of_a_cancellation_is_its_own_or_else_the_tasks(grace: timedelta | None) -> None:
    (event,) = decide(STATES["running"], Cancel("alice", "why", grace), NOW)

    expected = timedelta(seconds=10) if grace is None else grace
    assert event == e.TaskCancelling(
        task_id="T1", run_id=RUN, fence=1, worker_id="W1", grace=expected, by="alice", reason="why"
    )


@pytest.mark.parametrize("state", ["cancelling", "cancelling, started"])
def test_a_further_cancellation_counts_if_its_grace_is_shorter(state: str) -> None:
    long = decide(STATES["running"], Cancel("alice", "why", timedelta(minutes=1)), NOW)[0]
    task = evolve(STATES[state], TASK, long)

    for grace in (None, timedelta(minutes=1), timedelta(minutes=2)):
        assert decide(task, Cancel("bob", "again", grace), NOW) == []
    (shorter,) = decide(task, Cancel("bob", "at once", timedelta(0)), NOW)

    assert shorter == e.TaskCancelling(
        task_id="T1", run_id=RUN, fence=1, worker_id="W1", grace=timedelta(0), by="bob", reason="at once"
    )
    hastened = evolve(task, TASK, shorter)
    assert decide(hastened, Cancel("bob", "again", timedelta(0)), NOW) == []
    assert decide(hastened, FAILED, NOW)[-1] == e.TaskCancelled(
        task_id="T1", by="bob", reason="at once", runs=1, exit_code=3
    )


def test_a_stream_that_does_not_begin_with_a_submission_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"begins with task\.queued"):
        evolve(None, TASK, QUEUED)
