"""A private engine adds one link to the machine while it runs, and nothing once it has ended, however it ended."""

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from docker import APIClient

from infra.dev import engine_api, images, keeper
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


def hierarchy() -> Path:
    """The root of control groups: version 2's, or one of version 1's."""
    root = Path("/sys/fs/cgroup")
    return root if (root / "cgroup.procs").exists() else root / "pids"


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
        host, keeper_pid = owner.stdout.readline().split()
        images.ensure(host)
        run_sleeper(host)
        assert len(links() - before[0]) == 1

        owner.send_signal(signal.SIGKILL)

    until(lambda: start_time(int(keeper_pid)) is None, "the keeper has ended", 30)
    until(lambda: links() <= before[0], "the link is gone")
    assert groups() <= before[1]
    assert not engine_api.answers(host)


def test_a_control_group_is_removed_once_what_ran_in_it_has_ended() -> None:
    if os.geteuid() != 0:
        pytest.skip("control groups need root")
    group = hierarchy() / f"tally-{secrets.token_hex(4)}"
    group.mkdir()
    with subprocess.Popen(["sleep", "0.3"]) as busy:
        (group / "cgroup.procs").write_text(str(busy.pid))
        with pytest.raises(OSError, match="busy"):
            group.rmdir()

        keeper.remove_cgroups(f"/{group.name}")

    assert not group.exists()
