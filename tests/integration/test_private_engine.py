"""A private engine adds one link to the machine while it runs, and nothing once it has ended, however it ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from docker import APIClient

from infra.dev import engine_api, images
from infra.dev.children import start_time
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
OWNER = """
import sys
from pathlib import Path
from infra.dev import docker_engine
running = docker_engine.start_private(Path(sys.argv[1]))
print(running.host, running.kept.keeper_pid, flush=True)
sys.stdin.read()
"""


def links() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def groups() -> set[str]:
    return {str(path) for path in Path("/sys/fs/cgroup").glob("*/tally-*")}


def run_sleeper(host: str) -> None:
    client = cast("Any", APIClient(base_url=host))
    client.start(client.create_container("tallyport/busybox:dev", ["sleep", "600"]))
    client.close()


def test_an_engine_whose_owner_is_killed_leaves_no_process_link_or_control_group(
    tmp_path: Path,
    docker_host: str,  # up already, so that what it adds is not counted
) -> None:
    if os.geteuid() != 0:
        pytest.skip("a private engine needs root")
    before = links(), groups()
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        host, keeper = owner.stdout.readline().split()
        images.ensure(host)
        run_sleeper(host)
        assert len(links() - before[0]) == 1

        owner.send_signal(signal.SIGKILL)

    until(lambda: start_time(int(keeper)) is None, "the keeper has ended", 30)
    until(lambda: links() <= before[0], "the link is gone")
    assert groups() <= before[1]
    assert not engine_api.answers(host)
