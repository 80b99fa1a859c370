"""The first block of the page on bare machines, in a checkout of its own: servers come up, are named, and end."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT, blocks
from tests.support.waiting import amqp_answers, postgres_answers

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAGE = "docs/how-to/bare-machine.md"
SHARED = ("apt", "cache", "locks", "postgres", "tools", "venv")
"""What a checkout fetches or makes once."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this checkout that has fetched everything and runs nothing."""
    lock = hashlib.sha256((ROOT / "infra/locks/test.txt").read_bytes()).hexdigest()
    stamp = ROOT / ".dev/venv/.lock"
    assert stamp.exists(), "run `make venv`"
    assert stamp.read_text() == f"{sys.version}\n{lock}", "run `make venv`: this test must not make it anew"
    copy = tmp_path / "checkout"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    (copy / ".dev").mkdir()
    for name in SHARED:
        (ROOT / ".dev" / name).mkdir(exist_ok=True)
        (copy / ".dev" / name).symlink_to(ROOT / ".dev" / name)
    return copy


def test_servers_come_up_are_named_and_end(checkout: Path, docker_host: str) -> None:
    """The engine is the tests' own: what a private one leaves behind is tested beside it."""
    up, status, down = blocks(PAGE, "sh")[0].text.splitlines()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TALLY_", "MAKE"))}
    environment = {**kept, "DOCKER_HOST": docker_host, "PYTHON": str(Path(sys.executable).resolve())}

    def typed(line: str) -> str:
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, f"{line}: {ran.stdout}\n{ran.stderr}"
        return ran.stdout

    try:
        told = json.loads(typed(up))
        host, _, port = told["amqp_urls"]["client"].partition("@")[2].partition("/")[0].partition(":")
        assert postgres_answers(told["postgres_url"])
        assert amqp_answers(host, int(port))
        assert told["docker_host"] == docker_host
        assert {line.split()[0] for line in typed(status).splitlines()} == {"postgres", "rabbitmq"}
    finally:
        typed(down)

    assert not postgres_answers(told["postgres_url"])
    assert not amqp_answers(host, int(port))
