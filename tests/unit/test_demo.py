"""The demo ends with 0 only if all that it shows was there, and was right."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.verifying import Verified
from infra import demo
from infra.demo_checks import (
    Seen,
    container_problems,
    fold_problems,
    order_problems,
    report,
    task_problems,
    trace_problems,
)
from infra.dev import stack
from infra.dev.errors import CannotProvide
from infra.dev.otlp_receiver import Span, tree
from tests.support.histories import TASK

CONTAINER = "c0ffee" * 10
ENDED: list[dict[str, Any]] = [
    {"type": "task.submitted.v1", "position": 1},
    {"type": "task.succeeded.v1", "position": 2},
    {"type": "workflow.finished.v1", "position": 3},
]
ROOT = Span("t", "1", "", "submit", "producer", "client", 0, 9, failed=False, attributes={})
BELOW = replace(ROOT, span_id="2", parent_id="1", name="decide", service="handler")
VERIFIED = Verified(position=3, events=3, rows={"tasks": 1}, differing={"tasks": frozenset()})


def seen() -> Seen:
    """One task that succeeded in one container."""
    return Seen(ENDED, {CONTAINER: "unload"}, {CONTAINER: "tally-1 running"}, Counter([CONTAINER]))


def test_nothing_is_said_of_a_demo_that_adds_up() -> None:
    problems = [
        *task_problems(seen()),
        *container_problems(seen()),
        *trace_problems(tree([ROOT, BELOW])),
        *fold_problems(VERIFIED, seen().position),
    ]

    assert problems == []
    assert report(problems) == 0


def test_a_task_that_did_not_succeed_is_told() -> None:
    failed = Seen([event for event in ENDED if event["type"] != "task.succeeded.v1"])

    assert task_problems(failed) == ["1 tasks did not succeed"]


def event(kind: str, stream: str, **data: object) -> dict[str, Any]:
    return {"type": kind, "stream": stream, "position": 1, "data": {"spec": {"concurrency": {"key": "quay"}}, **data}}


def test_a_demo_that_shows_no_order_is_told() -> None:
    begun = [event("task.submitted.v1", "a"), event("task.submitted.v1", "b"), event("task.run-leased.v1", "a")]
    shown = [event("task.filled.v1", "c"), event("schedule.fired.v1", "s")]
    after = [event("task.succeeded.v1", "a"), event("task.run-leased.v1", "b")]

    assert order_problems(Seen([*begun, *shown, *after], explained=["dependency"])) == []
    assert order_problems(Seen([*begun, after[1]])) == [
        "no task.filled.v1 was seen",
        "no schedule.fired.v1 was seen",
        "what waits was explained by []",
        "two tasks were on the quay at once",
    ]


def test_a_container_that_the_engine_never_showed_is_told() -> None:
    missed = seen()
    missed.inspected = {}

    assert container_problems(missed) == ["container c0ffeec0ffee of unload was never seen on the engine"]


def test_a_container_that_was_started_twice_is_told() -> None:
    twice = seen()
    twice.starts = Counter([CONTAINER, CONTAINER])

    assert container_problems(twice) == ["container c0ffeec0ffee of unload was started 2 times"]


@pytest.mark.parametrize(
    ("spans", "problems"),
    [
        ([], ["the trace has 0 roots, not one"]),
        ([ROOT, replace(ROOT, span_id="3")], ["the trace has 2 roots, not one"]),
        ([ROOT, replace(BELOW, parent_id="lost")], ["the trace has a gap above decide [handler]"]),
    ],
)
def test_a_trace_that_is_not_one_tree_is_told(spans: list[Span], problems: list[str]) -> None:
    assert trace_problems(tree(spans)) == problems


def test_a_row_that_is_not_the_fold_of_the_log_is_told() -> None:
    wrong = replace(VERIFIED, differing={"tasks": frozenset({TASK})})

    assert fold_problems(wrong, 3) == [f"view tasks: row {TASK} is not the fold of the log"]


def test_views_that_stopped_before_the_last_event_seen_are_told_however_right_they_are() -> None:
    stopped = Verified(position=0, events=0, rows={"tasks": 0}, differing={"tasks": frozenset()})

    assert fold_problems(stopped, 3) == ["the views are at position 0, the last event seen is at 3"]


def test_one_problem_is_enough_to_end_otherwise_than_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(["the trace has 0 roots, not one"]) == 1

    assert capsys.readouterr().err == "demo: the trace has 0 roots, not one\n"


def test_a_demo_whose_servers_do_not_start_says_why_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def none_here(folder: Path) -> stack.Stack:
        raise CannotProvide("PostgreSQL", "the wheel is missing", "Run `make venv`.")

    monkeypatch.setattr(stack, "up", none_here)
    monkeypatch.setattr(demo, "FOLDER", tmp_path)

    assert demo.main() == 1

    assert capsys.readouterr().err == "demo: PostgreSQL: the wheel is missing. Run `make venv`.\n"
