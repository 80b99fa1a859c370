"""What `tally submit` makes of the files and the input that it is given."""

import io
import json
import sys
from pathlib import Path

import pytest

from tests.support.terminal import Terminal

NOOP = '{"task_id": "T1", "executor": "noop"}'


@pytest.fixture
def tally(capsysbinary: pytest.CaptureFixture[bytes]) -> Terminal:
    return Terminal(capsysbinary)


def typed(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))


def test_a_lone_hyphen_is_what_is_typed(tally: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, NOOP.encode())
    assert tally("submit", "-") == 0
    assert tally.out == "T1\n"


def test_input_that_is_no_text_is_refused(tally: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, b"\xff\xfe{")
    assert tally("submit", "-") == 5
    assert tally.err.startswith("tally: -: cannot be read: ")


def test_an_option_that_does_not_exist_is_no_file(tally: Terminal) -> None:
    assert tally("submit", "--bogus") == 2
    assert "--bogus" in tally.err


def test_a_file_may_begin_with_a_byte_order_mark(tally: Terminal, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_bytes(b"\xef\xbb\xbf" + NOOP.encode())
    assert tally("submit", str(tmp_path / "task.json")) == 0


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("task.yaml", "tasks: [{task_id: !!binary aGVq}]\n", "tasks.0.task_id: no message holds b'hej'"),
        ("task.yaml", "task_id: !!set {a}\n", "task_id: no message holds {'a'}"),
        ("task.yaml", "a: &a [*a]\n", "holds itself"),
        ("task.json", "[" * 100_000, "nested too deeply"),
        ("task.yaml", "[" * 100_000, "nested too deeply"),
        ("task.json", '{"task_id": "T1", "input": {"x": NaN}}', "input.x: no message holds nan"),
        ("task.json", '{"task_id": "T1", "task_id": "T2", "executor": "noop"}', "task_id: given twice"),
        ("task.yaml", "task_id: T1\ntask_id: T2\n", "task_id: given twice"),
        ("task.json", '{"type": ["task.submit.v1"]}', "type: "),
        ("task.yaml", "1: 2\n", "1: no such field"),
    ],
)
def test_what_no_message_can_hold_is_refused_by_name(
    tally: Terminal, tmp_path: Path, name: str, text: str, says: str
) -> None:
    (tmp_path / name).write_text(text)
    assert tally("submit", str(tmp_path / name)) == 5
    assert says in tally.err
    assert tally.platform.sent == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("task.yaml", "task_id: T1\nexecutor: noop\nlabels: {day: 2026-11-20}\n"),
        ("task.toml", 'task_id = "T1"\nexecutor = "noop"\nlabels = {day = 2026-11-20}\n'),
    ],
)
def test_dates_are_sent_as_text(tally: Terminal, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert tally("submit", str(tmp_path / name)) == 0
    [sent] = tally.platform.sent
    assert json.loads(sent.body())["labels"] == {"day": "2026-11-20"}


def test_on_and_no_are_words(tally: Terminal, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("executor: noop\nretry: {on: [oom]}\nlabels: {country: no}\n")
    assert tally("submit", str(tmp_path / "task.yaml")) == 0
    [sent] = tally.platform.sent
    data = json.loads(sent.body())
    assert (data["retry"]["on"], data["labels"]) == (["oom"], {"country": "no"})


def test_true_is_no_word(tally: Terminal, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("executor: noop\nlabels: {nightly: true}\n")
    assert tally("submit", str(tmp_path / "task.yaml")) == 5
    assert "labels.nightly: Input should be a valid string" in tally.err


def test_a_namespace_that_is_no_name_is_refused(tally: Terminal, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(NOOP)
    assert tally("submit", str(tmp_path / "task.json"), "-n", "Not A Name") == 5
    assert "namespace: " in tally.err


@pytest.mark.parametrize(
    "words",
    [
        ("run", "-n", "Not A Name", "busybox"),
        ("cancel", "T1", "--grace", "-1"),
    ],
)
def test_options_that_no_command_can_carry_are_refused(tally: Terminal, words: tuple[str, ...]) -> None:
    tally.endings["T1"] = None
    tally("run", "--task-id", "T1", "busybox")
    assert tally(*words) == 5
    assert tally.err.startswith("tally: ")


def test_a_reply_comes_in_the_form_that_was_asked_for(tally: Terminal, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(NOOP)
    assert tally("submit", str(tmp_path / "task.json"), "-o", "json") == 0
    assert json.loads(tally.out)["task_id"] == "T1"
    assert tally("run", "--task-id", "T2", "busybox", "-o", "jsonl") == 0
    assert json.loads(tally.out)["outcome"] == "accepted"
