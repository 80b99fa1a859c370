"""Tasks that wait for a time, and tasks that wait too long."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from domain import events as e
from domain.retry_spec import Retry
from domain.specs import TaskSpec
from domain.submitting import submit_task
from domain.task import CloseLease, Expire, Free, Wake, decide
from domain.task_states import Blocked, Delayed, Queued, Task
from domain.task_type import Types
from tests.support.ended_tasks import NOW, TASK
from tests.support.task_states import FAILED, GRANT, START, after, fold

LATER = NOW + timedelta(hours=1)
T0 = {"task_id": "T0"}


def submitted(**given: Any) -> Task:
    spec = TaskSpec.model_validate({"task_id": "T1", "executor": "noop", **given})
    return fold(*submit_task(spec, TASK, {"T0": TASK}, Types("base")))


def test_a_task_that_is_too_early_is_blocked_until_its_time() -> None:
    early = submitted(not_before=LATER)

    assert isinstance(early, Delayed)
    assert decide(early, GRANT, NOW) == []
    (queued,) = decide(early, Wake(0), LATER)
    assert isinstance(queued, e.TaskQueued)
    assert queued.after == "time"


def test_a_task_that_waits_for_others_and_for_a_time_waits_for_the_time_last() -> None:
    waits = submitted(not_before=LATER, depends_on=[T0])
    assert isinstance(waits, Blocked)
    assert decide(waits, Wake(0), LATER) == []

    (blocked,) = decide(waits, Free(), NOW)

    assert blocked == e.TaskBlocked(task_id="T1", by=(e.BlockerTime(until=LATER),))
    assert isinstance(after(waits, Free()), Delayed)
    (queued,) = decide(waits, Free(), LATER)
    assert isinstance(queued, e.TaskQueued)


@pytest.mark.parametrize(
    ("given", "waits"),
    [
        ({}, Queued),
        ({"not_before": NOW}, Delayed),
        ({"depends_on": [T0]}, Blocked),
        ({"retry": Retry(first=timedelta(seconds=1))}, Delayed),
    ],
)
def test_whatever_a_task_waits_for_it_expires_at_its_time(given: dict[str, Any], waits: type[Task]) -> None:
    state = submitted(expires_at=LATER, **given)
    if "retry" in given:
        state = after(state, GRANT, START, FAILED)
    assert isinstance(state, waits)

    (expired,) = decide(state, Expire("expires-at"), LATER)

    assert expired == e.TaskExpired(task_id="T1", reason="expires-at", runs=state.facts.run)


def test_only_a_task_in_the_queue_has_been_there_too_long() -> None:
    timeouts = {"queue": timedelta(minutes=5)}

    assert decide(submitted(timeouts=timeouts, depends_on=[T0]), Expire("queue-timeout"), LATER) == []
    assert decide(submitted(timeouts=timeouts), Expire("queue-timeout", 2), LATER) == [
        e.TaskExpired(task_id="T1", reason="queue-timeout")
    ]


def test_the_time_in_the_queue_counts_anew_each_time_it_is_queued() -> None:
    again = after(submitted(timeouts={"queue": timedelta(minutes=5)}), GRANT, CloseLease(1, accepted=False))
    assert isinstance(again, Queued)

    assert decide(again, Expire("queue-timeout", 2), LATER) == []
    (expired,) = decide(again, Expire("queue-timeout", again.since), LATER)
    assert isinstance(expired, e.TaskExpired)


@pytest.mark.parametrize(
    ("given", "command"), [({}, GRANT), ({"not_before": NOW}, Wake(0)), ({"depends_on": [T0]}, Free())]
)
def test_a_task_whose_time_is_over_is_neither_queued_nor_given_to_a_worker(given: dict[str, Any], command: Any) -> None:
    state = submitted(expires_at=LATER, **given)

    assert decide(state, command, LATER) == [e.TaskExpired(task_id="T1", reason="expires-at")]
    assert not isinstance(decide(state, command, LATER - timedelta(seconds=1))[0], e.TaskExpired)


@pytest.mark.parametrize("commands", [[GRANT], [GRANT, START]])
@pytest.mark.parametrize("reason", ["queue-timeout", "expires-at"])
def test_a_task_that_a_worker_has_does_not_expire(commands: list[Any], reason: Any) -> None:
    assert decide(after(submitted(expires_at=LATER), *commands), Expire(reason), LATER) == []


def test_the_queue_knows_how_long_a_task_may_wait_there() -> None:
    state = submitted(expires_at=LATER, timeouts={"queue": timedelta(minutes=5)}, not_before=NOW)

    (queued,) = decide(state, Wake(0), NOW)

    assert isinstance(queued, e.TaskQueued)
    assert (queued.timeout, queued.expires_at) == (timedelta(minutes=5), LATER)


def test_times_are_kept_as_utc() -> None:
    given = '{"executor": "noop", "not_before": "2026-11-21T04:12:40+01:00"}'
    spec = TaskSpec.model_validate_json(given, strict=True)

    assert spec.not_before == NOW
    assert '"not_before":"2026-11-21T03:12:40Z"' in spec.model_dump_json()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"not_before": "2026-11-21T03:12:40"}, "with its offset"),
        ({"not_before": "tomorrow"}, "with its offset"),
        ({"not_before": "1700000000"}, "with its offset"),
        ({"not_before": 1700000000}, "with its offset"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "from 1970 to 9000"),
        ({"expires_at": "0001-01-01T00:00:00+12:00"}, "from 1970 to 9000"),
        ({"expires_at": "2026-02-31T00:00:00Z"}, "day is out of range"),
        ({"not_before": LATER, "expires_at": LATER}, "not_before must be earlier than expires_at"),
        ({"timeouts": {"queue": "PT0S"}}, "greater than 0"),
    ],
)
def test_times_that_cannot_be_meant_are_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        TaskSpec.model_validate({"executor": "noop", **given})
