"""A task of 10,000 children on real servers: submitted in parts by the conductor, run, counted."""

import time
from collections.abc import Iterator

import pytest

from domain import events as e
from tests.support.platform import MakePlatform, Platform
from tests.support.waiting import until

pytestmark = pytest.mark.integration
SIZE = 10_000
CHILD = {"executor": "noop", "input": {"n": "{{item}}"}}
COUNTED = "SELECT count(*) FROM events WHERE topic = 'task.submitted.v1' AND originator_id <> %s"


@pytest.fixture
def running(make_platform: MakePlatform) -> Iterator[Platform]:
    """All that runs tasks of executor noop."""
    with make_platform(
        ["handler", "conductor", "relay", "messenger", "projector", "worker"], TALLY_WORKER__SLOTS="512"
    ) as platform:
        yield platform


def submit(running: Platform) -> str:
    reply = running.ask("task.submit.v1", {"task_id": "all", "for_each": {"items": {"count": SIZE}, "task": CHILD}})
    assert reply["outcome"] == "accepted", reply
    return str(reply["id"])


def end(running: Platform, parent: str) -> e.TaskSucceeded | None:
    rows = running.rows("SELECT state FROM events WHERE originator_id = %s AND topic = 'task.succeeded.v1'", parent)
    return e.TaskSucceeded.model_validate_json(bytes(rows[0][0])) if rows else None


def test_ten_thousand_children_are_submitted_in_parts_run_and_counted(running: Platform) -> None:
    began = time.monotonic()
    parent = submit(running)
    until(lambda: running.rows(COUNTED, parent) == [(SIZE,)], "all children", 120)
    submitted = time.monotonic()
    until(lambda: end(running, parent) is not None, "the end", 180)
    ended = time.monotonic()

    told = end(running, parent)
    assert told is not None
    assert told.result == {
        **dict.fromkeys(("cancelled", "expired", "failed", "quarantined"), 0),
        **dict.fromkeys(("children", "succeeded"), SIZE),
    }
    [(most,)] = running.rows("SELECT max(n) FROM (SELECT count(*) AS n FROM events GROUP BY xmin) AS one")
    assert most <= 1000
    assert running.rows("SELECT count(*) FROM events WHERE originator_id = %s", parent) == [(3,)]
    assert running.rows(
        "SELECT (SELECT count(*) FROM conductor_members) + (SELECT count(*) FROM conductor_spreads)"
    ) == [(0,)]
    print(f"submitted in {submitted - began:.1f} s, ended in {ended - began:.1f} s, at most {most} events at once")
