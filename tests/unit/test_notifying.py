"""Who is told of what, when a failed try is repeated, and when it is given up."""

from datetime import timedelta

import pytest

from domain.notifications import NotificationFailed, NotificationSent
from domain.notifying import BUDGET, LONGEST, Notification, Settled, Tried, backoff, notifications, settle
from tests.support.ended_tasks import NOW, TASK, failed, stored, succeeded

END = stored(succeeded(TASK, "ops")[-1])
OPS = Notification(END, "ops")
ENDS = frozenset({"task.succeeded.v1", "task.failed.v1"})


def test_each_channel_that_a_task_names_is_told_once() -> None:
    told = notifications([END], {TASK: ("ops", "dev", "ops")}, {"ops": ENDS, "dev": ENDS})
    assert told == [OPS, Notification(END, "dev")]


def test_a_task_that_names_no_channel_tells_nobody() -> None:
    assert notifications([END], {}, {"ops": ENDS}) == []


def test_a_channel_is_not_told_of_what_it_does_not_ask_for() -> None:
    only_failed = {"ops": frozenset({"task.failed.v1"})}
    assert notifications([END], {TASK: ("ops",)}, only_failed) == []
    assert len(notifications([stored(failed(TASK)[-1])], {TASK: ("ops",)}, only_failed)) == 1


def test_a_channel_that_nobody_set_up_is_planned_so_that_its_failure_shows() -> None:
    assert notifications([END], {TASK: ("opps",)}, {"ops": ENDS}) == [Notification(END, "opps")]


def test_a_try_that_succeeds_is_a_fact() -> None:
    sent = NotificationSent(event_id=END.event_id, channel="ops", tries=1)
    assert settle(OPS, Tried(), NOW, 0.5) == Settled(OPS, None, None, sent)


def test_a_failed_try_is_repeated_later() -> None:
    again = NOW + timedelta(seconds=2.5)
    assert settle(OPS, Tried("answered 500"), NOW, 0.5) == Settled(OPS, "answered 500", again, None)


def test_a_try_that_can_never_succeed_is_given_up_at_once() -> None:
    failed = NotificationFailed(event_id=END.event_id, channel="ops", tries=1, reason="bad-url")
    assert settle(OPS, Tried("bad-url", final=True), NOW, 0.5) == Settled(OPS, "bad-url", None, failed)


def test_tries_are_given_up_when_the_next_would_come_after_a_day() -> None:
    last = settle(OPS, Tried("answered 500"), NOW + BUDGET - timedelta(seconds=5), 1.0)
    assert last.again_at == NOW + BUDGET
    over = settle(OPS, Tried("answered 500"), NOW + BUDGET - timedelta(seconds=4), 1.0)
    assert over.again_at is None
    assert isinstance(over.fact, NotificationFailed)


@pytest.mark.parametrize(("tries", "seconds"), [(1, 5), (2, 10), (5, 80), (20, 3600), (10_000, 3600)])
def test_pauses_double_up_to_an_hour(tries: int, seconds: int) -> None:
    assert backoff(tries, 1.0) == timedelta(seconds=seconds) <= LONGEST
    assert backoff(tries, 0.0) == timedelta(0)


def test_what_became_of_a_notification_is_told_in_the_same_stream_by_every_process() -> None:
    assert OPS.stream == Notification(END, "ops", tries=7).stream
    assert OPS.stream != Notification(END, "dev").stream
    assert OPS.stream.version == 7
