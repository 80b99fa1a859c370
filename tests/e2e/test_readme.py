"""Every block of the README, and of how-tos, does what it says beside a running `tally dev`."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from infra.dev import fetch
from tests.support.broker import Vhost
from tests.support.database import Database
from tests.support.pages import ROOT, blocks, script
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

README, AUTHENTICATION = "README.md", "docs/how-to/authentication.md"
DEPENDENCIES = "docs/how-to/dependencies.md"
RETRIES = "docs/how-to/retries.md"
TIMES = "docs/how-to/times.md"
PAUSING = "docs/how-to/pausing.md"
SCHEDULES = "docs/how-to/schedules.md"
LIMITS = "docs/how-to/limits.md"
TYPES = "docs/how-to/task-types.md"
RESULTS = "docs/how-to/results.md"
RUN_AGAIN = "docs/how-to/run-again.md"
EXPLAIN = "docs/how-to/explain.md"
DRAINING = "docs/how-to/draining.md"
CACHING = "docs/how-to/caching.md"
FAN_OUT = "docs/how-to/fan-out.md"

VARIES = re.compile(r"(for )?[0-9.]+[smh]( ago)?$|by [^ :]+|ended at [^;]+", re.MULTILINE)
"""For how long, as whom and when: another one each time."""


@contextmanager
def dev(folder: Path, environment: dict[str, str]) -> Generator[None]:
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


@pytest.fixture
def environment(pg: Database, vhost: Vhost, docker_host: str, tmp_path: Path) -> dict[str, str]:
    """A terminal that has `amqp-publish`; `tally dev` in it uses the servers of the tests."""
    program, libraries = fetch.amqp_publish()
    tools = tmp_path / "bin"
    tools.mkdir()
    exports = "".join(f"export {name}={value}\n" for name, value in libraries.items())
    (tools / "amqp-publish").write_text(f'#!/bin/sh\n{exports}exec {program} "$@"\n')
    (tools / "amqp-publish").chmod(0o755)
    return {
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


def typed(folder: Path, environment: dict[str, str], *words: str) -> str:
    """What a command that succeeds prints."""
    ran = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def test_the_readme_s_commands_for_make_are_targets_that_ci_runs() -> None:
    lines = [line for block in blocks(README, "console") for line in block.text.splitlines()]

    help_text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ci = (ROOT / ".ci/run").read_text()

    assert lines == ["$ make demo", "$ make test"]
    for target in ("demo", "test"):
        assert f"make {target} " in help_text
        assert f"make {target}\n" in ci


def test_the_blocks_run_one_after_the_other(tmp_path: Path, environment: dict[str, str]) -> None:
    shell = ("bash", "-euo", "pipefail", "-c")
    [python] = blocks(README, "python")
    [vote] = blocks(DEPENDENCIES, "python")

    with dev(tmp_path, environment):
        told = typed(tmp_path, environment, *shell, script(README))
        ran = typed(tmp_path, {**environment, "PYTHONPATH": str(ROOT)}, sys.executable, "-c", python.text)
        graph = typed(tmp_path, environment, *shell, script(DEPENDENCIES))
        votes = typed(tmp_path, {**environment, "PYTHONPATH": str(ROOT)}, sys.executable, "-c", vote.text)
        tries = typed(tmp_path, environment, *shell, script(RETRIES))
        times = typed(tmp_path, environment, *shell, script(TIMES))
        limited = typed(tmp_path, environment, *shell, script(LIMITS))
        of_types = typed(tmp_path, environment, *shell, script(TYPES))
        paused = typed(tmp_path, environment, *shell, script(PAUSING))
        left = typed(tmp_path, environment, *shell, script(RESULTS))
        again = typed(tmp_path, environment, *shell, script(RUN_AGAIN))
        granted = json.loads(typed(tmp_path, environment, *shell, script(AUTHENTICATION)))
        api_url = json.loads((tmp_path / ".dev/tally/dev.json").read_text())["api_url"]
        bearer = {"Authorization": f"Bearer {granted['access_token']}"}
        found = httpx2.get(f"{api_url}/v1/tasks/hello?namespace=default", headers=bearer, trust_env=False)

    assert told.startswith("hello\n")
    assert "run-succeeded" in told
    assert '"status":"succeeded"' in told.replace(": ", ":")
    assert "status='succeeded'" in ran
    assert "task.run-started.v1" in ran
    assert [f"nightly.{name} " in graph for name in ("extract", "load", "tell", "clean")] == [True] * 4
    assert "1 failed 1 skipped 2 succeeded" in graph
    assert "release  default  failed  2 cancelled 1 failed\n" in graph
    assert "task.expired.v1" in graph
    assert "open: further tasks are to come" in graph
    assert "2 succeeded\n" in graph
    assert "flowchart LR" in graph
    assert votes.count("status='succeeded'") == 2
    assert tries.count("try\n") == 3
    assert "ended with 3" in tries
    assert "retries-exhausted" in tries
    assert "the slow way\n" in tries
    assert "failed again\n" in tries
    assert "Retry of" in tries
    assert "times  default  failed  2 expired 1 failed 1 succeeded\n" in times
    assert "reports  default  succeeded  3 succeeded\n" in limited
    assert "key:default/database" in limited
    assert "1000/PT60S" in limited
    assert "hello ada\nhello ada\nhello ada\n" in of_types
    assert '"task_type": "greet"' in of_types
    assert "Paused for wait for the audit\n" in paused
    assert [name in paused for name in ("paused", "resumed", "succeeded")] == [True] * 3
    assert "Monday has 3 rows\n" in left
    assert '{"rows":3,"from":"s3://lake/sales.csv"}' in left
    assert "Artifact   sales.csv  s3://lake/sales.csv  5 bytes" in left
    assert "task.filled.v1" in left
    assert "template-missing-field" in left
    assert 'result is an object without "errors"' in left
    assert "report.tuesday\ntuesday\n" in again
    assert "Fork of" in again
    assert "transform still fails\n" in again
    assert "freight.again  default  failed  1 failed 1 skipped\n" in again
    assert "freight.transform:2" in again
    assert granted["scope"] == "tasks:read ns:default"
    assert (found.status_code, found.json()["status"]) == (200, "succeeded")


def test_the_blocks_about_schedules_run(tmp_path: Path, environment: dict[str, str]) -> None:
    with dev(tmp_path, environment):
        told = typed(tmp_path, environment, "bash", "-euo", "pipefail", "-c", script(SCHEDULES))

    assert told.startswith("tick\nnightly\n")
    assert "30 2 * * MON-FRI Europe/Berlin" in told
    assert "every PT2S" in told
    assert told.count("T01:30:00Z\n") + told.count("T00:30:00Z\n") >= 10
    assert "nightly for 2026-11-20T01:30:00Z\n" in told
    assert " fired " in told
    assert "dear ada\n" in told
    assert "dear ada, and all in london\n" in told


def test_the_blocks_about_draining_run_and_print_what_the_page_shows(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    [shown] = blocks(DRAINING, "text")

    with dev(tmp_path, environment):
        told = typed(tmp_path, environment, "bash", "-euo", "pipefail", "-c", script(DRAINING))
        name = typed(tmp_path, environment, "tally", "worker", "ls", "-o", "name").strip()

    said = told.splitlines()
    assert VARIES.sub("", "\n".join(said[:2])) == VARIES.sub("", shown.text.strip().replace("node-1", name))
    assert re.search(rf"^{re.escape(name)} +drained +0/", told, re.MULTILINE)
    assert said[-1] == "after"
    assert "worker.draining.v1" in told
    assert "worker.serving.v1" in told


def test_the_blocks_about_explaining_run_and_print_what_the_page_shows(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    [shown] = blocks(EXPLAIN, "text")

    with dev(tmp_path, environment):
        told = typed(tmp_path, environment, "bash", "-euo", "pipefail", "-c", script(EXPLAIN))

    assert VARIES.sub("", told).startswith(VARIES.sub("", shown.text))
    assert "1 exit-nonzero  run 1: exit-nonzero (exit code 3)" in told
    assert '"root": "broken.first"' in told


def test_the_blocks_about_caching_run_and_print_what_the_page_shows(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    [shown] = blocks(CACHING, "text")

    with dev(tmp_path, environment):
        told = typed(tmp_path, environment, "bash", "-euo", "pipefail", "-c", script(CACHING))

    assert VARIES.sub("", shown.text) in VARIES.sub("", told)
    assert "Cached     the result is that of count.first, which ended " in told
    assert '{"letters":5}' in told
    assert len(re.findall(r"count\.second +succeeded .* cached ", told)) == 1
    assert told.endswith("\n1\n")


def test_the_blocks_about_one_task_for_each_item_run(tmp_path: Path, environment: dict[str, str]) -> None:
    with dev(tmp_path, environment):
        told = typed(tmp_path, environment, "bash", "-euo", "pipefail", "-c", script(FAN_OUT))

    assert "Status     succeeded" in told
    assert "Children   3\n" in told
    assert "resize b.jpg, number 1\n3 photos\n" in told
    assert "ended with" in told
    assert "children-failed" in told
    assert "1 of 3 children did not succeed: 1 failed" in told
    assert "sums[2]" in told
    assert "has ended\n" in told
