"""Every block of the README does what it says."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.dev import fetch
from tests.support.broker import Vhost
from tests.support.database import Database
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = {"text", "console", "sh", "python"}


def blocks() -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / "README.md").read_text())


@contextmanager
def dev(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A running `tally dev` whose data is in `folder`."""
    log = folder / "dev.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [str(Path(sys.executable).with_name("tally")), "dev"],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        until(
            lambda: (folder / ".dev/tally/dev.json").exists() or child.poll() is not None,
            f"tally dev is up: {log}",
            seconds=120,
        )
        assert child.poll() is None, log.read_text()
        yield
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


def test_the_readme_s_commands_for_make_are_targets_that_ci_runs() -> None:
    wanted = {
        line.removeprefix("$ make ") for kind, text in blocks() if kind == "console" for line in text.splitlines()
    }

    help_text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ci = (ROOT / ".ci/run").read_text()

    assert wanted == {"demo", "test"}
    for target in wanted:
        assert f"make {target} " in help_text
        assert f"make {target}\n" in ci


def test_every_block_is_of_a_kind_that_is_run() -> None:
    assert {kind for kind, _ in blocks()} == KINDS


def test_the_readme_s_blocks_run_one_after_the_other(
    pg: Database, vhost: Vhost, docker_host: str, tmp_path: Path
) -> None:
    program, libraries = fetch.amqp_publish()
    tools = tmp_path / "bin"
    tools.mkdir()
    exports = "".join(f"export {name}={value}\n" for name, value in libraries.items())
    (tools / "amqp-publish").write_text(f'#!/bin/sh\n{exports}exec {program} "$@"\n')
    (tools / "amqp-publish").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{tools}:{os.environ['PATH']}",
        "TALLY_DATABASE__OWNER_URL": pg.owner,
        "TALLY_DATABASE__ALLOW_UNSAFE": "true",
        "TALLY_AMQP__URL": vhost.platform,
        "DOCKER_HOST": docker_host,
        "TALLY_API__PORT": "0",
        "TALLY_ISSUER__PORT": "0",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "NO_COLOR": "1",
    }
    shell = [text for kind, text in blocks() if kind == "sh"]
    python = [text for kind, text in blocks() if kind == "python"]

    with dev(tmp_path, environment):
        began = time.monotonic()
        told = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(shell)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert told.returncode == 0, f"{told.stdout}\n{told.stderr}"
        for text in python:
            ran = subprocess.run(
                [sys.executable, "-c", text],
                cwd=tmp_path,
                env={**environment, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert ran.returncode == 0, ran.stderr
            assert "status='succeeded'" in ran.stdout
            assert "task.run-started.v1" in ran.stdout

    assert told.stdout.startswith("hello\n")
    assert "task.run-succeeded" in told.stdout or "run-succeeded" in told.stdout
    assert '"status":"succeeded"' in told.stdout.replace(": ", ":")
    assert time.monotonic() - began < 240
