"""How `tally` gets rid of what it has to say: to readers that go, disks that are full, forms that were asked for."""

import asyncio
import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.in_memory.endings import Ending
from adapters.in_memory.platform import MemoryPlatform
from api.cli import following
from api.cli.output import Common, ident, span
from api.client import Outcome, StoredEvent
from domain.errors import NotAllowed, Refused, Unavailable
from domain.ports.platform import Output, View
from infra.dev.children import free_ports
from tests.support.ended_tasks import Hands
from tests.support.terminal import Terminal

PAUSE, PARTS = 0.05, 20  # seconds between parts of a slow output


@pytest.fixture
def tally(capsysbinary: pytest.CaptureFixture[bytes]) -> Terminal:
    return Terminal(capsysbinary)


class Failing(io.RawIOBase):
    """A stream that takes nothing."""

    def __init__(self, number: int) -> None:
        self._number = number

    def writable(self) -> bool:
        return True

    def write(self, _: object) -> int:
        raise OSError(self._number, os.strerror(self._number))


def failing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(Failing(number)), encoding="utf-8"))


class Printed(MemoryPlatform):
    """A platform whose output comes slowly, or is refused."""

    __slots__ = ("refused",)

    def __init__(self, endings: dict[str, Ending | None], refused: Refused | None = None) -> None:
        super().__init__(Hands(), endings)
        self.refused = refused

    async def output(self, run_id: str, follow: bool, tail: int | None = None) -> AsyncIterator[Output]:
        if self.refused:
            raise self.refused
        for _ in range(PARTS):
            await asyncio.sleep(PAUSE)
            yield Output("stdout", b".")


class Away(MemoryPlatform):
    """A platform that is away each second time it is asked for events, and interrupted when there are no more."""

    __slots__ = ("asked",)

    def __init__(self, endings: dict[str, Ending | None]) -> None:
        super().__init__(Hands(), endings)
        self.asked = 0

    async def events(self, namespace: str | None, after: int, types: Sequence[str], limit: int) -> Sequence[View]:
        self._be_away()
        page = await super().events(namespace, after, types, limit)
        if not page:
            raise KeyboardInterrupt
        return page

    async def task_events(
        self, ref: str, namespace: str, after_version: int = 0, wait: timedelta | None = None
    ) -> Sequence[View]:
        self._be_away()
        return (await super().task_events(ref, namespace, after_version, wait))[:2]

    def _be_away(self) -> None:
        self.asked += 1
        if self.asked % 2 == 0:
            raise Unavailable("API is not reached")


def test_the_log_is_followed_by_position_through_an_outage(tally: Terminal) -> None:
    tally.platform = Away(tally.endings)
    tally("run", "--task-id", "T1", "busybox")
    assert tally("events", "-f", "--limit", "2", "-o", "jsonl") == 130
    positions = [json.loads(line)["position"] for line in tally.out.splitlines()]
    assert positions == list(range(1, len(tally.platform.log.events) + 1))


def test_a_task_is_followed_by_version_through_an_outage(tally: Terminal) -> None:
    tally.platform = Away(tally.endings)
    tally("run", "--task-id", "T1", "busybox")
    assert tally("events", "T1", "-f", "-o", "jsonl") == 0
    assert [json.loads(line)["version"] for line in tally.out.splitlines()] == [1, 2, 3, 4, 5, 6]


def test_a_reader_that_goes_changes_no_exit_code_of_a_container(
    tally: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally.endings["T1"] = Ending(3, b"to nobody\n")
    failing(monkeypatch, errno.EPIPE)
    assert tally("run", "--wait", "-q", "--task-id", "T1", "busybox") == 3
    assert tally.err == ""


def test_a_reader_that_goes_is_no_failure_of_a_list(tally: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    tally("run", "busybox")
    failing(monkeypatch, errno.EPIPE)
    assert tally("ls") == 0
    assert tally.err == ""


def test_a_full_disk_is_said_so(tally: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    tally("run", "busybox")
    failing(monkeypatch, errno.ENOSPC)
    assert tally("ls") == 1
    assert tally.err == "tally: [Errno 28] No space left on device\n"


def test_output_that_is_refused_is_said_so(tally: Terminal) -> None:
    tally.platform = Printed(tally.endings, Refused(NotAllowed("logs:read is needed").problem()))
    assert tally("run", "--wait", "-q", "--task-id", "T1", "busybox") == 4
    assert "logs:read is needed" in tally.err


def test_output_is_waited_for_as_long_as_it_comes(tally: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENT_SECONDS", PAUSE * PARTS * 0.8)
    tally.platform = Printed(tally.endings)
    assert tally("run", "--wait", "-q", "--task-id", "T1", "busybox") == 0
    assert (tally.out, tally.err) == ("." * PARTS, "")


def test_output_that_does_not_come_is_not_waited_for(tally: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENT_SECONDS", PAUSE / 10)
    tally.platform = Printed(tally.endings)
    assert tally("run", "--wait", "-q", "--task-id", "T1", "busybox") == 0
    assert tally.err == "tally: the rest of the output is not stored yet; see: tally logs T1\n"


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome("succeeded", 0), 0),
        (Outcome("succeeded"), 0),
        (Outcome("failed", 3), 3),
        (Outcome("failed", 0, reason="timeout"), 125),
        (Outcome("cancelled", 143), 143),
        (Outcome("skipped"), 125),
    ],
)
def test_only_a_task_that_succeeded_ends_with_0(outcome: Outcome, code: int) -> None:
    assert following.container_code(outcome) == code


@pytest.mark.parametrize(
    ("variables", "colored"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colors_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], colored: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name, value in {"NO_COLOR": "", "TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    assert Common().color is colored
    assert not Common(no_color=True).color


@pytest.mark.parametrize(("words", "name"), [(("status", "T1"), "T1"), (("workflow", "F1"), "F1")])
def test_one_thing_has_a_name_too(tally: Terminal, tmp_path: Path, words: tuple[str, ...], name: str) -> None:
    (tmp_path / "flow.json").write_text('{"workflow_id": "F1", "tasks": [{"task_id": "T1", "executor": "noop"}]}')
    tally("submit", str(tmp_path / "flow.json"))
    assert tally(*words, "-o", "name") == 0
    ident = tally.out.strip()
    assert tally(*words, "-o", "json") == 0
    assert ident == json.loads(tally.out)["workflow_id" if name == "F1" else "id"]


def test_what_never_started_has_waited_until_it_ended() -> None:
    row = {"created_at": "2026-11-21T10:00:00+00:00", "started_at": None, "completed_at": "2026-11-21T10:00:03+00:00"}
    assert span("created_at", "started_at", "completed_at")(row, False) == "3.0s"
    assert span("started_at", "completed_at")(row, False) == "-"


@pytest.mark.parametrize(
    "words", [("serve", "bogus"), ("projection", "rebuild", "bogus"), ("projection", "verify", "x")]
)
def test_a_part_that_does_not_exist_is_a_mistake_in_typing(tally: Terminal, words: tuple[str, ...]) -> None:
    assert tally(*words) == 2
    assert "; one of " in tally.err


@pytest.mark.parametrize(
    ("words", "code"), [(("projection", "verify"), 6), (("projection", "rebuild", "tasks"), 6), (("db", "migrate"), 1)]
)
def test_a_database_that_is_not_reached_is_said_so(
    tally: Terminal, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int
) -> None:
    monkeypatch.setenv("TALLY_DATABASE__URL", f"postgresql://tally_app:hunter2@127.0.0.1:{free_ports(1)[0]}/tally")
    assert tally(*words) == code
    assert "refused" in tally.err
    assert "hunter2" not in tally.err


def test_the_doctor_looks_at_every_part_that_is_left(
    tally: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    monkeypatch.setenv("TALLY_DEV__FOLDER", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("TALLY_DATABASE__URL", f"postgresql://tally_app:hunter2@127.0.0.1:{port}/tally")
    monkeypatch.setenv("TALLY_WORKER__ENGINE", f"unix://{tmp_path}/nowhere.sock")
    assert tally("doctor", "-o", "json") == 1
    found = {row["part"]: row for row in json.loads(tally.out)}
    assert {part: row["status"] for part, row in found.items()} == dict.fromkeys(
        ("platform", "database", "containers"), "failed"
    )
    assert "tally dev" in found["platform"]["detail"]
    assert "hunter2" not in tally.out

    monkeypatch.setenv("TALLY_CLIENT__API_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("TALLY_CLIENT__AMQP_URL", f"amqp://client:hunter2@127.0.0.1:{port}/tally")
    assert tally("doctor", "-o", "json") == 1
    failed = [row["part"] for row in json.loads(tally.out) if row["status"] == "failed"]
    assert failed == ["api", "token", "broker", "database", "containers"]
    assert "hunter2" not in tally.out


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_streams_that_the_caller_has_closed_are_missed_by_nobody(closed: int) -> None:
    command = [sys.executable, "-m", "infra.main", "config", "show"]
    program = f"import os; os.close({closed}); os.execv({sys.executable!r}, {command!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("told", "why"), [({}, "its worker is silent"), ({"error": {"code": "engine-down"}}, "engine-down")]
)
def test_the_progress_says_why_a_run_was_lost(
    told: dict[str, object], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    following.progress(StoredEvent(1, 1, "task.run-lost.v1", {"task_id": "t", "run": 2, **told}))

    assert capsys.readouterr().err == f"t run 2 lost: {why}\n"


@pytest.mark.parametrize(
    ("ends", "shown"),
    [
        (("7001-9abc-000000000000", "7002-8abc-000000000000"), ("7001", "7002")),
        (("7001-9abc-000000000000", "7001-8abc-000000000000"), ("7001-9", "7001-8")),
        (("7461-a64c-db0707275e13", "7461-a64c-db08765274b2"), ("7461-a64c-db07", "7461-a64c-db08")),
        (("7461-a64c-db0707275e13", "7461-a64c-db0707275e14"), ("7461-a64c-db0707275e13", "7461-a64c-db0707275e14")),
        (("7461-a64c-db0707275e13",), ("7461",)),
    ],
)
def test_as_much_of_an_id_is_shown_as_tells_it_from_the_others_of_the_list(
    ends: tuple[str, ...], shown: tuple[str, ...]
) -> None:
    found = [{"id": f"01a20263-ba90-{end}"} for end in ends]

    column = ident("id", found)

    assert [column(row, False) for row in found] == [f"01a20263-ba90-{end}" for end in shown]
    assert [column(row, True) for row in found] == [row["id"] for row in found]
