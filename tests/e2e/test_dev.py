"""`tally dev` as one command: up, used, ended by Ctrl-C, up again with what it kept."""

import signal
import stat
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from infra.dev_file import running_in
from tests.support.platform import BUSYBOX
from tests.support.typed import Shell

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

UP_SECONDS, DOWN_SECONDS = 120, 60


@contextmanager
def dev(shell: Shell) -> Generator["subprocess.Popen[str]"]:
    """`tally dev`, until it has said that it is up; ended as by Ctrl-C."""
    running = shell.start("dev")
    try:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline().startswith("tally dev is up"), running.stderr.read()
        yield running
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=DOWN_SECONDS)


def test_one_command_brings_up_a_platform_that_keeps_its_history(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "dev", {"TALLY_API__PORT": "0", "TALLY_ISSUER__PORT": "0"})

    with dev(shell) as first:
        file = shell.folder / "dev.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        done = shell("run", "--wait", "-q", "--task-id", "hello", BUSYBOX, "echo", "hello")
        assert (done.code, done.out) == (0, "hello\n"), done.err
        up = running_in(shell.folder)
        assert up is not None
        assert "tally_projection_lag" in httpx2.get(up.metrics_url).text
        assert httpx2.get(f"{up.api_url}/openapi.json").status_code == 200
        second = shell("dev")
        assert second.code == 1
        assert "TALLY_DEV__FOLDER" in second.err
    assert first.returncode == 0
    assert not file.exists()
    assert running_in(shell.folder) is None
    assert shell("ls").code == 6

    with dev(shell):
        assert "task.succeeded.v1" in shell("events", "hello").out
