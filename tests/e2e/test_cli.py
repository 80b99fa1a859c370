"""The command line and the Python client against every process, with real containers."""

import json
import signal
from pathlib import Path

import pytest

from api.client import Outcome, Task
from domain.views import VIEWS
from infra.client import Target, client_of
from infra.login import Login
from infra.settings import Settings
from tests.support.platform import BUSYBOX, Platform
from tests.support.typed import Shell, reader_secret, shell

pytestmark = pytest.mark.e2e


@pytest.fixture
def typed(tally: Platform, tmp_path: Path) -> Shell:
    return shell(tally.system, tmp_path)


@pytest.fixture
def posting(tally: Platform, tmp_path: Path) -> Shell:
    """As somebody who has logged in, far from the platform: no `dev.json`, no broker."""
    system = tally.system
    secret = json.loads((system.folder / "issuer" / "clients.json").read_text())["admin"]
    found = Shell(tmp_path)
    login = found("login", system.issuer_url, "--api", system.api_url, stdin=secret + "\n")
    assert login.code == 0, login.err
    return found


def test_a_container_runs_as_if_it_were_here(typed: Shell) -> None:
    done = typed("run", "--wait", "-q", BUSYBOX, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.code, done.out, done.err) == (3, "out\n", "err\n")


def test_commands_may_go_by_post(posting: Shell) -> None:
    done = posting("run", "--wait", "-q", BUSYBOX, "echo", "posted")
    assert (done.code, done.out, done.err) == (0, "posted\n", "")
    who = posting("whoami", "-o", "json")
    assert json.loads(who.out)["commands"] == "POST"


def test_a_reader_may_not_submit(tally: Platform, tmp_path: Path) -> None:
    reader = Shell(tmp_path)
    words = ("login", tally.system.issuer_url, "--api", tally.system.api_url, "--client-id", "reader")
    assert reader(*words, stdin=reader_secret(tally.system) + "\n").code == 0
    assert reader("ls").code == 0
    refused = reader("run", BUSYBOX, "true")
    assert refused.code == 4
    assert "commands:write" in refused.err


def test_a_wrong_secret_is_not_kept(tally: Platform, tmp_path: Path) -> None:
    stranger = Shell(tmp_path)
    login = stranger("login", tally.system.issuer_url, "--api", tally.system.api_url, stdin="guess\n")
    assert login.code == 4
    assert not (tmp_path / "config").exists()


def test_a_workflow_is_waited_for_and_shown(typed: Shell, tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    container = f'container: {{image: "{BUSYBOX}", command: [echo, made]}}'
    file.write_text(
        "workflow_id: cli-flow\ntasks:\n"
        f"  - {{task_id: cli-a, {container}}}\n"
        f"  - {{task_id: cli-b, depends_on: [{{task_id: cli-a}}], {container}}}\n"
    )
    done = typed("submit", str(file), "--wait")
    assert (done.code, done.out) == (0, "cli-flow\n"), done.err
    shown = typed("workflow", "cli-flow", "-o", "json")
    assert [node["status"] for node in json.loads(shown.out)["nodes"]] == ["succeeded", "succeeded"]
    assert typed("logs", "cli-b").out == "made\n"
    assert typed("submit", str(file), "--wait").code == 0, "the same again is the same workflow"


def test_a_task_is_found_by_the_beginning_of_its_id(typed: Shell) -> None:
    assert typed("run", "--task-id", "cli-found", BUSYBOX, "true").out == "cli-found\n"
    view = json.loads(typed("status", "cli-found", "-o", "json").out)
    again = json.loads(typed("status", view["id"][:30], "-o", "json").out)
    assert again["task_id"] == "cli-found"
    assert typed("status", "ffffffff-ffff").code == 3


def test_ctrl_c_detaches_and_a_cancellation_ends_it(typed: Shell, tally: Platform) -> None:
    running = typed.start("run", "--wait", "-q", "--task-id", "cli-long", BUSYBOX, "sh", "-c", "echo begun; sleep 300")
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    assert tally.types("cli-long")[-1] == "run-started"

    assert typed("cancel", "cli-long", "--reason", "wrong day", "--grace", "0").code == 0
    assert tally.wait_ended("cli-long") == {"cli-long": "cancelled"}
    assert typed("events", "cli-long", "-f", "-o", "jsonl").out.splitlines()[-1].find("wrong day") > 0


def test_output_is_followed_while_it_is_printed(typed: Shell) -> None:
    typed("run", "--task-id", "cli-slow", BUSYBOX, "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done")
    assert typed("logs", "-f", "cli-slow").out == "1\n2\n3\n"
    assert typed("logs", "cli-slow", "--tail", "1").out == "3\n"


def test_every_part_is_found_well(typed: Shell) -> None:
    done = typed("doctor", "-o", "json")
    assert done.code == 0, done.out
    assert {row["status"] for row in json.loads(done.out)} == {"ok"}
    assert [row["status"] for row in json.loads(typed("worker", "ls", "-o", "json").out)] == ["live"]
    assert typed("projection", "verify").out == "".join(f"{view}: equal\n" for view in VIEWS)


async def test_the_python_client_submits_waits_and_reads(tally: Platform) -> None:
    system = tally.system
    secret = json.loads((system.folder / "issuer" / "clients.json").read_text())["admin"]
    user = Login(system.api_url, system.issuer_url, "admin", secret)
    where = Target("test", system.api_url, system.addresses.amqp["client"], user)
    async with client_of(Settings(), where, "default") as client:
        task = await client.submit(Task("nightly", image=BUSYBOX, command=["sh", "-c", "exit 7"]))
        assert await task.wait(timeout=60) == Outcome("failed", 7, None, "exit-nonzero")
        events = [event async for event in task.events()]
        async with client.workflow("py-etl") as etl:
            extract = etl.task("extract", image=BUSYBOX, command=["echo", "1"])
            load = etl.task("load", image=BUSYBOX, command=["echo", "2"]).after(extract)
        assert (await client.task(load.id).wait(timeout=60)).status == "succeeded"
    assert [event.type for event in events][-2:] == ["task.run-failed.v1", "task.failed.v1"]
    assert [event.position for event in events] == sorted(event.position for event in events)
