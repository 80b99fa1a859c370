"""Servers are held by a keeper: none outlives its owner, none is ended by mistake."""

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from infra.dev.children import (
    PORTS,
    Child,
    Kept,
    Plan,
    accepts,
    end,
    free_ports,
    is_free,
    keep,
    on_free_ports,
    start_time,
    wait_until,
)
from infra.dev.errors import CannotProvide, EndedEarly, StartFailed
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


def test_of_two_servers_the_one_that_ended_is_named_with_its_own_log(tmp_path: Path) -> None:
    broken = Child("broken", ["sh", "-c", "echo no such host >&2; exit 3"], {}, tmp_path / "broken.log")
    kept = keep(Plan([*sleeper(tmp_path / "log").children, broken]))

    with pytest.raises(EndedEarly, match=r"(?s)broken ended.*broken\.log.*no such host"):
        wait_until(lambda: False, kept, "the pair", seconds=10)


LISTEN = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"


def test_a_server_whose_port_was_taken_meanwhile_starts_on_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[int] = []

    def start(ports: list[int]) -> Kept:
        tried.extend(ports)
        log = tmp_path / "log"
        kept = keep(Plan([Child("listener", [sys.executable, "-c", LISTEN, str(ports[0])], {}, log)]))
        wait_until(lambda: accepts(ports[0]) and len(tried) > 1, kept, "the listener", seconds=10)
        return kept

    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = [[other.getsockname()[1]], *([port] for port in free_ports(1))]
        with on_free_ports(1, lambda ports: start(taken.pop(0) if taken else ports)) as kept:
            assert kept.running

    assert len(tried) == 2
    assert "Address already in use" in capsys.readouterr().err


def test_a_server_that_always_ends_is_given_up(tmp_path: Path) -> None:
    tried: list[int] = []

    def start(ports: list[int]) -> None:
        tried.extend(ports)
        wait_until(lambda: False, keep(sleeper(tmp_path / "log", "false")), "the sleeper", seconds=10)

    with pytest.raises(EndedEarly):
        on_free_ports(1, start)
    assert len(set(tried)) == 3


def test_free_ports_are_different_each_time_and_none_of_an_outgoing_connection() -> None:
    ports = [*free_ports(20), *free_ports(20)]

    assert len(set(ports)) == 40
    assert set(ports) <= set(PORTS)


def test_that_no_port_is_left_is_said() -> None:
    with pytest.raises(CannotProvide, match="free ports: none is left of 20000 to 32767"):
        free_ports(len(PORTS) + 1)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_is_free_if_nobody_listens_on_either_loopback(family: int, address: str) -> None:
    with socket.socket(family) as other:
        other.bind((address, 0))
        other.listen()
        assert not is_free(other.getsockname()[1])
    assert is_free(free_ports(1)[0])


def test_a_port_is_free_also_where_the_kernel_knows_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    class IPv4Alone(socket.socket):
        def __init__(self, family: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            super().__init__(family)

    monkeypatch.setattr(socket, "socket", IPv4Alone)

    assert is_free(free_ports(1)[0])
