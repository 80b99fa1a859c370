"""Tasks and workflows that are changed, or made of old ones, from the command line: by name and by filter."""

import io
import json
import re
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.in_memory.endings import Ending
from adapters.task_listing import STATUSES
from api.cli import each
from api.cli.changing import patch
from api.cli.exits import Exit
from domain.commands import CancelTask, ForkTask
from domain.ports.querying import STATUS_GROUPS
from tests.support.ended_tasks import Hands
from tests.support.terminal import Terminal


@pytest.fixture
def tally(capsysbinary: pytest.CaptureFixture[bytes]) -> Terminal:
    return Terminal(capsysbinary)


def hands(tally: Terminal) -> Hands:
    assert isinstance(tally.platform.clock, Hands)
    return tally.platform.clock


class Person(io.StringIO):
    """At a terminal."""

    def isatty(self) -> bool:
        return True


def some(tally: Terminal) -> None:
    """T1 and T4 run on, T2 has failed, T3 has succeeded; T4 is in another namespace."""
    tally.endings |= {"T1": None, "T2": Ending(1), "T4": None}
    for name in ("T1", "T2", "T3"):
        assert tally("run", "--task-id", name, "--name", f"name-{name}", "busybox") == 0
    assert tally("run", "-n", "other", "--task-id", "T4", "busybox") == 0


def statuses(tally: Terminal) -> dict[str, str]:
    assert tally("ls", "-o", "json", "--limit", "500") == 0
    return {task["task_id"]: task["status"] for task in json.loads(tally.out)}


def test_all_that_fit_are_changed_in_one_namespace_and_told_of(tally: Terminal) -> None:
    some(tally)
    assert tally("cancel", "--where", "status=running", "--yes", "--reason", "wrong day") == 0
    assert len(tally.out.splitlines()) == 1
    assert tally.err == "1 task in default: status=running\ncancel: 1 done\n"
    assert statuses(tally) == {"T1": "cancelled", "T2": "failed", "T3": "succeeded", "T4": "running"}
    assert tally("cancel", "--where", "namespace=other", "--yes") == 0
    assert statuses(tally)["T4"] == "cancelled"


def test_a_filter_without_a_status_means_those_that_can_be_changed(tally: Terminal) -> None:
    some(tally)
    assert tally("set-priority", "--priority", "9", "--where", "name=name-T1", "--yes") == 0
    assert "1 task in default: status=open,name=name-T1" in tally.err
    assert tally("retry", "--where", "name=name-T1", "--yes") == 0
    assert (tally.out, "0 tasks in default" in tally.err) == ("", True)
    assert tally("retry", "--where", "status=failed", "--yes", "--wait") == 0
    assert tally.err.endswith(" succeeded\n")


def test_every_status_is_open_or_ended() -> None:
    assert {*STATUS_GROUPS["open"], *STATUS_GROUPS["ended"]} == set(STATUSES)
    assert not {*STATUS_GROUPS["open"]} & {*STATUS_GROUPS["ended"]}


def test_nobody_is_asked_where_nobody_is(tally: Terminal) -> None:
    some(tally)
    sent = len(tally.platform.sent)
    assert tally("cancel", "--where", "status=running") == 2
    assert "nobody to ask whether to cancel 1 task: add --yes" in tally.err
    assert len(tally.platform.sent) == sent


@pytest.mark.parametrize(("says", "code", "sent"), [("y\n", 0, 1), ("\n", 1, 0), ("no\n", 1, 0), ("", 1, 0)])
def test_a_person_is_shown_some_and_asked(
    tally: Terminal, monkeypatch: pytest.MonkeyPatch, says: str, code: int, sent: int
) -> None:
    some(tally)
    monkeypatch.setattr(sys, "stdin", Person(says))
    assert tally("cancel", "--where", "status=running") == code
    assert "  name-T1  running\n" in tally.err
    assert "cancel 1 task? [y/N] " in tally.err
    assert sum(isinstance(one, CancelTask) for one in tally.platform.sent) == sent


def test_what_has_gone_on_meanwhile_is_told_and_no_error_but_a_refusal_is(tally: Terminal) -> None:
    some(tally)
    assert tally("cancel", "--where", "status=running,failed", "--yes") == 0
    assert "tally: T2: bad-state: task T2 has already failed" in tally.err
    assert tally.err.endswith("cancel: 1 no longer possible, 1 done\n")
    assert tally("fork", "--where", "status=failed", "--set", "priority=99", "--yes") == 5
    assert "tally: T2: schema: changes.priority: " in tally.err
    assert tally.err.endswith("fork: 1 refused\n")


def test_of_several_that_are_named_each_has_its_own_outcome(tally: Terminal) -> None:
    some(tally)
    assert tally("cancel", "T2", "T1") == 5
    assert len(tally.out.splitlines()) == 1
    assert tally.err == "tally: T2: bad-state: task T2 has already failed: nothing is left to cancel\n"
    assert tally("cancel", "T3", "nobody") == 3


def test_no_more_than_a_bound_are_changed_at_once(tally: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    some(tally)
    monkeypatch.setattr("api.cli.changing.MOST", 1)
    monkeypatch.setattr(each, "MOST", 1)
    assert tally("fork", "--where", "status=failed,succeeded", "--yes") == 0
    assert "more than 1 task in default" in tally.err
    assert "only the newest 1 of them now; go on with created-before=20" in tally.err
    assert len(tally.out.splitlines()) == 1


def test_parts_that_go_on_as_they_are_told_to_change_each_task_once(
    tally: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        assert tally("run", "--task-id", f"T{number}", "--name", "batch", "busybox") == 0
        hands(tally).move(timedelta(seconds=number % 2))
    monkeypatch.setattr("api.cli.changing.MOST", 3)
    monkeypatch.setattr(each, "MOST", 3)
    where, parts = "name=batch", list[int]()
    while where:
        hands(tally).move(timedelta(seconds=1))
        assert tally("fork", "--where", where, "--yes") == 0
        parts.append(len(tally.out.splitlines()))
        told = re.search(r"go on with created-before=(\S+) afterwards", tally.err)
        where = f"name=batch,created-before={told[1]}" if told else ""

    forked = [one.task_id for one in tally.platform.sent if isinstance(one, ForkTask)]
    assert (len(forked), len(set(forked))) == (6, 6)
    assert parts == [2, 2, 2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--where", "colour=red"), "colour: no such filter; there are status, name, task_type, worker"),
        (("--where", ""), "give NAME=VALUE"),
        (("--where", "failed"), "give NAME=VALUE"),
        (("--where", "status="), "status: give it a value"),
        (("--where", "label.=x"), "label.: no such filter"),
        (("--where", "status=failed,name=a,status=expired"), "status is given twice"),
        (("--where", "created-after=2020-01-01T00:00:00Z,created_after=x"), "given twice"),
        (("--where", "status=failed", "T1"), "not both"),
        ((), "which tasks?"),
    ],
)
def test_a_filter_that_is_none_changes_nothing(tally: Terminal, words: tuple[str, ...], says: str) -> None:
    assert tally("retry", *words, "--yes") == 2
    assert says in tally.err
    assert tally.platform.sent == []


def test_the_filters_of_a_list_are_checked_too(tally: Terminal) -> None:
    some(tally)
    assert tally("ls", "created-after=2000-01-01T00:00:00Z", "status=failed", "namespace=default", "-o", "name") == 0
    assert len(tally.out.splitlines()) == 1
    assert tally("ls", "colour=red") == 2
    assert "colour: no such filter" in tally.err


def test_a_fork_has_the_changes_and_the_old_task_stays(tally: Terminal) -> None:
    some(tally)
    tally.endings["T9"] = Ending(3)
    fields = (
        "--set",
        "container.image=python:3.14-slim",
        "--set",
        r"labels.a\.b=7",
        "--set",
        'container.command=["x"]',
    )
    assert tally("fork", "T1", "--from", "2", "--as", "T9", *fields, "--wait") == 1
    assert tally.out == "T9\n"
    assert "T9 failed (exit-nonzero)" in tally.err
    assert tally("status", "T9", "-o", "json") == 0
    view = json.loads(tally.out)
    assert (view["image"], view["labels"], view["name"]) == ("python:3.14-slim", {"a.b": "7"}, "name-T1")
    assert view["spec"]["container"]["command"] == ["x"]
    assert tally("status", "T1") == 0
    assert "running" in tally.out
    assert tally("status", "T9") == 0
    assert f"Fork of    {view['forked_from']}" in tally.out


def test_a_fork_from_beyond_the_history_is_refused(tally: Terminal) -> None:
    some(tally)
    assert tally("fork", "T2", "--from", "99") == 5
    assert "bad-version: from_version: 99 is beyond the history of T2, which ends at version" in tally.err
    assert tally("fork", "T1", "T2", "--from", "1") == 2
    assert tally("fork", "T1", "T2", "--as", "T9") == 2
    assert tally("fork", "--where", "status=failed", "--as", "T9", "--yes") == 2
    assert not any(isinstance(one, ForkTask) and one.from_version == 1 for one in tally.platform.sent)


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        (["priority=7", "container=null"], {"priority": 7, "container": None}),
        (["container.env.DAY=7", "labels.n=8"], {"container": {"env": {"DAY": "7"}}, "labels": {"n": "8"}}),
        (["labels.n=null", "name=a=b"], {"labels": {"n": None}, "name": "a=b"}),
        (['labels={"a":"b"}', "labels.c=d"], {"labels": {"a": "b", "c": "d"}}),
    ],
)
def test_fields_become_a_merge_patch(fields: list[str], changes: object) -> None:
    assert patch(fields) == changes


@pytest.mark.parametrize("fields", [["container"], ["priority=7", "priority.high=1"]])
def test_fields_that_make_no_patch_are_refused(fields: list[str]) -> None:
    with pytest.raises(Exit):
        patch(fields)


def flow(tally: Terminal, folder: Path) -> None:
    """F1: b fails, and c, which needs it, is skipped."""
    tally.endings["b"] = Ending(1)
    tasks: list[dict[str, object]] = [{"task_id": name, "container": {"image": "busybox"}} for name in "abc"]
    tasks[1] |= {"depends_on": [{"task_id": "a"}]}
    tasks[2] |= {"depends_on": [{"task_id": "b"}]}
    (folder / "flow.json").write_text(json.dumps({"workflow_id": "F1", "tasks": tasks}))
    assert tally("submit", str(folder / "flow.json")) == 0


def test_a_workflow_is_run_once_more_from_its_failed_tasks(tally: Terminal, tmp_path: Path) -> None:
    flow(tally, tmp_path)
    assert tally("workflow", "retry", "F1", "--as", "F2", "--wait") == 0
    assert (tally.out, tally.err) == ("F2\n", "b:2 succeeded\nc:2 succeeded\n")
    assert tally("workflow", "F2", "-o", "json") == 0
    new = json.loads(tally.out)
    assert [node["depends_on"] for node in new["nodes"]] == [["a"], ["b:2"]]
    assert tally("workflow", "F1", "-o", "json") == 0
    old = json.loads(tally.out)
    assert (old["status"], old["id"]) == ("failed", new["retry_of"])


def test_a_workflow_is_cancelled_as_a_whole(tally: Terminal, tmp_path: Path) -> None:
    tally.endings["a"] = None
    flow(tally, tmp_path)

    assert tally("workflow", "cancel", "F1", "--reason", "wrong day") == 0

    assert tally.out == "F1\n"
    assert tally("workflow", "F1", "-o", "json") == 0
    view = json.loads(tally.out)
    assert (view["status"], view["cancel_reason"]) == ("cancelled", "wrong day")
    assert [node["status"] for node in view["nodes"]] == ["cancelled"] * len(view["nodes"])
    assert tally("workflow", "cancel", "nobody") == 3


def test_a_workflow_of_which_nothing_is_left_is_refused(tally: Terminal, tmp_path: Path) -> None:
    flow(tally, tmp_path)
    assert tally("workflow", "retry", "F1", "--as", "F2") == 0
    assert tally("workflow", "retry", "F2") == 5
    assert "bad-state: workflow F2: all of its tasks have succeeded" in tally.err
    assert tally("workflow", "retry", "nobody") == 3
    tally.endings["b:3"] = None
    assert tally("workflow", "retry", "F1", "--as", "F3", "-q") == 0
    assert tally("workflow", "retry", "F3") == 5
    assert "has not finished" in tally.err


@pytest.mark.parametrize("words", [("explain",), ("cancel",), ("retry",)])
def test_of_several_tasks_the_one_that_is_not_there_is_named(tally: Terminal, words: tuple[str, ...]) -> None:
    tally("run", "--task-id", "T1", "busybox")
    assert tally(*words, "T1", "nobody") == 3
    assert tally.err.startswith("tally: nobody: not-found: ")
