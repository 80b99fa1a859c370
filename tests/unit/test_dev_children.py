"""Servers are held by a keeper: none outlives its owner, none is ended by mistake."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.dev.children import Child, Plan, end, free_ports, keep, start_time
from infra.dev.errors import StartFailed
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
OWNER = """
import sys
from pathlib import Path
from infra.dev.children import Child, Plan, keep
kept = keep(Plan([Child("sleeper", ["sleep", "600"], {}, Path(sys.argv[1]))]))
print(kept.keeper_pid, kept.pids["sleeper"], flush=True)
sys.stdin.read()
"""


def sleeper(log: Path, *command: str) -> Plan:
    return Plan([Child("sleeper", command or ("sleep", "600"), {}, log)])


def gone(pid: int) -> bool:
    return start_time(pid) is None


def test_stopping_ends_the_server_and_its_keeper(tmp_path: Path) -> None:
    kept = keep(sleeper(tmp_path / "log"))

    kept.stop()
    kept.stop()

    assert gone(kept.pids["sleeper"])
    assert gone(kept.keeper_pid)


def test_a_server_that_an_owner_killed_by_kill_9_left_behind_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path / "log")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        keeper, server = map(int, owner.stdout.readline().split())
        owner.kill()

    until(lambda: gone(server) and gone(keeper), "server and keeper have ended")


def test_a_server_whose_keeper_is_killed_by_kill_9_ends(tmp_path: Path) -> None:
    kept = keep(sleeper(tmp_path / "log"))

    os.kill(kept.keeper_pid, signal.SIGKILL)

    until(lambda: gone(kept.pids["sleeper"]), "the server has ended")
    kept.stop()


def test_what_a_server_left_running_ends_with_its_keeper(tmp_path: Path) -> None:
    orphan = tmp_path / "orphan"
    script = f"setsid sleep 600 & echo $! > {orphan}.part; mv {orphan}.part {orphan}; exec sleep 600"
    kept = keep(sleeper(tmp_path / "log", "sh", "-c", script))
    until(orphan.exists, "the orphan has started")

    kept.stop()

    assert gone(int(orphan.read_text()))


def test_an_unowned_server_outlives_its_starter_until_its_keeper_is_told(tmp_path: Path) -> None:
    kept = keep(sleeper(tmp_path / "log"), owned=False)
    assert kept.process.stdin is not None
    assert kept.process.stdin.closed
    assert kept.running

    assert end(kept.keeper_pid, kept.started)

    until(lambda: not kept.running, "the keeper has ended")


def test_a_pid_that_now_belongs_to_another_process_is_left_alone(tmp_path: Path) -> None:
    with keep(sleeper(tmp_path / "log")) as kept:
        assert not end(kept.keeper_pid, kept.started - 1)

        assert kept.running


def test_a_server_that_can_not_start_says_why(tmp_path: Path) -> None:
    log = tmp_path / "log"
    plan = Plan([Child("broken", ["sh", "-c", "echo no such port >&2; exit 3"], {}, log, ready=tmp_path / "never")])

    with pytest.raises(StartFailed) as caught:
        keep(plan)

    assert caught.value.what == "broken"
    assert "no such port" in str(caught.value)


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(20))) == 20
