"""`tally schedule` over a platform in memory."""

import json
from pathlib import Path

import pytest

from tests.support.terminal import Terminal

NIGHTLY = "schedule_id: nightly\ncron: 30 2 * * *\ntimezone: Europe/Berlin\ntask: {executor: noop}\n"


@pytest.fixture
def tally(capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> Terminal:
    terminal = Terminal(capsysbinary)
    (tmp_path / "nightly.yaml").write_text(NIGHTLY)
    assert terminal("schedule", "put", str(tmp_path / "nightly.yaml")) == 0
    assert terminal.out == "nightly\n"
    return terminal


def test_schedules_are_listed(tally: Terminal) -> None:
    assert tally("schedule", "ls") == 0
    title, row = tally.out.splitlines()
    assert title.split() == ["SCHEDULE", "STATUS", "WHEN", "OVERLAP", "UPDATED"]
    assert row.startswith("nightly   active  30 2 * * * Europe/Berlin")
    assert tally("schedule", "ls", "-o", "name") == 0
    assert tally.out == "nightly\n"


def test_the_next_fires_can_be_asked_for(tally: Terminal) -> None:
    assert tally("schedule", "next", "nightly", "--count", "2") == 0
    assert tally.out == "NEXT\n2026-11-22T01:30:00Z\n2026-11-23T01:30:00Z\n"


def test_a_fire_is_triggered_once_for_a_time(tally: Terminal) -> None:
    asked = ("schedule", "trigger", "nightly", "--as-if", "2026-11-20T02:30:00+01:00")
    assert tally(*asked) == 0
    task = tally.out
    assert tally(*asked) == 0
    assert tally.out == task
    assert (
        tally("schedule", "backfill", "nightly", "--from", "2026-11-19T00:00:00Z", "--to", "2026-11-21T00:00:00Z") == 0
    )
    assert tally.out.splitlines()[1] == task.strip()
    assert tally("schedule", "next", "nightly", "-o", "json") == 0
    assert [one["status"] for one in json.loads(tally.out)["last"]] == ["fired"] * 2
    assert tally("schedule", "next", "nightly") == 0
    assert [line.split()[0] for line in tally.out.split("LAST")[1].splitlines()[1:]] == [
        "2026-11-20T01:30:00Z",
        "2026-11-19T01:30:00Z",
    ]


def test_a_span_without_a_time_says_so(tally: Terminal) -> None:
    span = ("--from", "2026-11-19T03:00:00Z", "--to", "2026-11-19T04:00:00Z")
    assert tally("schedule", "backfill", "nightly", *span) == 0
    assert (tally.out, tally.err) == ("", "no time of the schedule lies in this span\n")


@pytest.mark.parametrize("verb", ["pause", "resume", "rm"])
def test_a_schedule_is_told(tally: Terminal, verb: str) -> None:
    assert tally("schedule", verb, "nightly") == 0
    assert tally.out == "nightly\n"
    assert tally("schedule", verb, "unknown") == 3


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (NIGHTLY.replace("30 2", "99 2"), 5, "cron: bad minute in 99 2 * * *"),
        (NIGHTLY.replace("cron", "crom"), 5, "crom"),
        (NIGHTLY.replace("Europe/Berlin", "../../etc/passwd"), 5, "timezone: ../../etc/passwd"),
    ],
)
def test_a_bad_schedule_is_refused_with_the_way_out(
    tally: Terminal, tmp_path: Path, text: str, code: int, says: str
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    assert tally("schedule", "put", str(tmp_path / "bad.yaml")) == code
    assert says in tally.err


def test_a_time_that_is_none_is_a_mistake_of_use(tally: Terminal) -> None:
    assert tally("schedule", "trigger", "nightly", "--as-if", "yesterday") == 2
    assert "--as-if yesterday: give a time such as" in tally.err
