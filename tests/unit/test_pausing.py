"""A paused task waits, whatever else it waits for, until it is resumed."""

from datetime import timedelta

import pytest

from domain import events as e
from domain.errors import BadState
from domain.specs import TaskSpec
from domain.task import Cancel, Expire, Free, Pause, Resume, Wake, decide
from domain.task_states import Blocked, Delayed, Paused, Queued
from tests.support.ended_tasks import NOW
from tests.support.task_states import GRANT, STATES, after, fold

WAITING = ["blocked", "queued", "delayed"]
HELD_BACK = e.TaskBlocked(task_id="T1", by=(e.BlockerPause(),))


@pytest.mark.parametrize("state", WAITING)
def test_a_task_that_waits_is_paused_once(state: str) -> None:
    assert decide(STATES[state], Pause("bob", "audit"), NOW) == [e.TaskPaused(task_id="T1", by="bob", reason="audit")]
    assert decide(after(STATES[state], Pause("bob")), Pause("alice"), NOW) == []


@pytest.mark.parametrize(
    ("state", "stands"),
    [
        ("leased", "has been given to a worker"),
        ("running", "is running"),
        ("timing out", "is running"),
        ("cancelling", "is being cancelled"),
        ("ended", "has already succeeded"),
    ],
)
def test_a_task_that_does_not_wait_is_not_paused(state: str, stands: str) -> None:
    with pytest.raises(BadState, match=f"task T1 {stands}: only one that waits can be paused"):
        decide(STATES[state], Pause("bob"), NOW)


def test_a_paused_task_leaves_the_queue_and_comes_back_as_it_was() -> None:
    paused = STATES["paused"]

    assert isinstance(paused, Paused)
    assert decide(paused, GRANT, NOW) == []
    resumed, queued = decide(paused, Resume("bob"), NOW)
    assert resumed == e.TaskResumed(task_id="T1", by="bob")
    assert queued == e.TaskQueued(task_id="T1", pool="default", executor="noop", priority=5, after="pause")
    assert isinstance(after(paused, Resume("bob"), GRANT), type(STATES["leased"]))


def test_a_run_that_was_offered_before_the_pause_is_the_one_that_is_offered_after_it() -> None:
    resumed = after(STATES["paused, offered before"], Resume("bob"))

    (leased,) = decide(resumed, GRANT, NOW)

    assert isinstance(leased, e.RunLeased)
    assert (leased.run, leased.fence) == (1, 2)


@pytest.mark.parametrize(
    ("state", "time_has_come", "again"),
    [("paused, blocked", Free(), "dependencies"), ("paused, delayed", Wake(1), "retry")],
)
def test_what_a_paused_task_waited_for_may_come_before_it_is_resumed_or_after(
    state: str, time_has_come: Free | Wake, again: str
) -> None:
    paused = STATES[state]

    assert decide(paused, time_has_come, NOW) == [HELD_BACK]
    held_back = after(paused, time_has_come)
    assert isinstance(held_back, Paused)
    assert [event.TYPE for event in decide(held_back, Resume("bob"), NOW)] == [e.TaskResumed.TYPE, e.TaskQueued.TYPE]
    assert decide(paused, Resume("bob"), NOW) == [e.TaskResumed(task_id="T1", by="bob")]
    resumed = after(paused, Resume("bob"))
    assert isinstance(resumed, Blocked | Delayed)
    (queued,) = decide(resumed, time_has_come, NOW)
    assert isinstance(queued, e.TaskQueued)
    assert queued.after == again


def test_a_paused_task_that_is_freed_too_early_waits_for_its_time_first() -> None:
    until = NOW + timedelta(hours=1)
    submitted = e.TaskSubmitted(task_id="T1", spec=TaskSpec(executor="noop", not_before=until))
    paused = after(fold(submitted, e.TaskBlocked(task_id="T1", by=(e.Blocker(task_id="T0"),))), Pause("bob"))

    assert decide(paused, Free(), NOW) == [e.TaskBlocked(task_id="T1", by=(e.BlockerTime(until=until),))]
    assert decide(after(paused, Free()), Wake(0), until) == [HELD_BACK]


@pytest.mark.parametrize("state", ["queued", "blocked", "running"])
def test_to_resume_what_is_not_paused_is_already_so(state: str) -> None:
    assert decide(STATES[state], Resume("bob"), NOW) == []


def test_an_ended_task_is_not_resumed() -> None:
    with pytest.raises(BadState, match="task T1 has already succeeded: retry it, as a new task"):
        decide(STATES["ended"], Resume("bob"), NOW)


@pytest.mark.parametrize("state", [name for name in STATES if name.startswith("paused")])
def test_a_paused_task_can_be_cancelled_and_expires(state: str) -> None:
    assert [event.TYPE for event in decide(STATES[state], Cancel("alice"), NOW)] == [e.TaskCancelled.TYPE]
    assert [event.TYPE for event in decide(STATES[state], Expire("expires-at"), NOW)] == [e.TaskExpired.TYPE]


def test_a_pause_is_not_time_in_the_queue() -> None:
    assert decide(STATES["paused"], Expire("queue-timeout", since=2), NOW) == []
    resumed = after(STATES["paused"], Resume("bob"))
    assert isinstance(resumed, Queued)
    assert resumed.since > 2
