"""Commands from clients that we did not write, runs in real containers."""

import json
import os
import subprocess

import pytest
from uuid_utils.compat import uuid7

from infra.dev import fetch
from tests.support.platform import BUSYBOX, Platform

pytestmark = pytest.mark.e2e

HELLO = {"task_id": "hello", "container": {"image": BUSYBOX, "command": ["echo", "hello"]}}


def test_a_shell_command_makes_a_container_run(tally: Platform) -> None:
    program, environment = fetch.amqp_publish()
    command_id = str(uuid7())
    arguments = [
        *("--url", tally.system.addresses.amqp["client"]),
        *("-e", "task.commands", "-r", "task.submit.default", "-C", "application/json", "-p"),
        *("-H", f"ce-id: {command_id}", "-H", "ce-type: task.submit.v1"),
        *("-b", json.dumps(HELLO)),
    ]

    for _ in range(2):
        subprocess.run([program, *arguments], env={**os.environ, **environment}, check=True, timeout=30)
    ends = tally.wait_ended("hello")
    reply = tally.ask("task.submit.v1", HELLO, command_id)  # type: ignore[arg-type]

    assert ends == {"hello": "succeeded"}
    assert tally.types("hello") == [
        "submitted",
        "queued",
        "run-leased",
        "run-started",
        "run-succeeded",
        "succeeded",
    ]
    assert (reply["outcome"], reply["duplicate"], reply["task_id"]) == ("accepted", True, "hello")


def test_a_run_names_the_container_and_the_image_it_really_ran(tally: Platform) -> None:
    tally.publish("task.submit.v1", {**HELLO, "task_id": "named"})
    tally.wait_ended("named")

    started = tally.wait_for("task.run-started.v1", "named").data

    assert len(started["container_id"]) == 64
    assert started["image_digest"].startswith("sha256:")


@pytest.mark.parametrize(
    ("task", "container", "reason", "exit_code"),
    [
        ("fails", {"image": BUSYBOX, "command": ["sh", "-c", "exit 7"]}, "exit-nonzero", 7),
        ("no-registry", {"image": "127.0.0.1:1/no-such-image:dev", "command": ["true"]}, "pull-failed", None),
        ("no-image", {"image": "tallyport/No-Such-Image:dev", "command": ["true"]}, "image-not-found", None),
        ("no-program", {"image": BUSYBOX, "command": ["no-such-program"]}, "bad-command", None),
    ],
)
def test_a_run_that_ends_badly_says_why(
    tally: Platform, task: str, container: dict[str, object], reason: str, exit_code: int | None
) -> None:
    tally.publish("task.submit.v1", {"task_id": task, "container": container, "timeouts": {"pull": "PT20S"}})

    assert tally.wait_ended(task) == {task: "failed"}

    failed = tally.wait_for("task.failed.v1", task).data
    assert (failed["reason"], failed.get("exit_code")) == (reason, exit_code)


def test_a_diamond_runs_in_the_order_of_its_dependencies(tally: Platform) -> None:
    needs = {"d.top": [], "d.left": ["d.top"], "d.right": ["d.top"], "d.bottom": ["d.left", "d.right"]}
    tasks = [
        {
            "task_id": name,
            "container": {"image": BUSYBOX, "command": ["true"]},
            "depends_on": [{"task_id": one} for one in upstream],
        }
        for name, upstream in needs.items()
    ]

    tally.publish("task.submit-workflow.v1", {"workflow_id": "diamond", "tasks": tasks})

    assert set(tally.wait_ended(*needs).values()) == {"succeeded"}
    position = {
        (event.type, event.data["task_id"]): event.position
        for event in tally.events()
        if event.data.get("task_id") in needs
    }
    for name, upstream in needs.items():
        for one in upstream:
            assert position["task.succeeded.v1", one] < position["task.run-leased.v1", name]


def test_a_workflow_ends_when_all_its_tasks_have(tally: Platform) -> None:
    tasks = [
        {"task_id": "w.bad", "container": {"image": BUSYBOX, "command": ["false"]}},
        {"task_id": "w.after", "executor": "noop", "depends_on": [{"task_id": "w.bad"}]},
        {"task_id": "w.beside", "executor": "noop"},
    ]

    tally.publish("task.submit-workflow.v1", {"workflow_id": "mixed", "tasks": tasks})
    ends = tally.wait_ended("w.bad", "w.after", "w.beside")
    tally.wait_caught_up("conductor")

    assert ends == {"w.bad": "failed", "w.after": "skipped", "w.beside": "succeeded"}
    (finished,) = [
        e.data for e in tally.events() if e.type == "workflow.finished.v1" and e.data["workflow_id"] == "mixed"
    ]
    assert (finished["succeeded"], finished["failed"], finished["skipped"]) == (1, 1, 1)


def test_a_cancelled_run_is_cancelled_only_when_its_container_is_gone(tally: Platform) -> None:
    sleeper = {"image": BUSYBOX, "command": ["sleep", "300"]}
    tally.publish("task.submit.v1", {"task_id": "sleeper", "container": sleeper, "timeouts": {"stop": "PT1S"}})
    tally.wait_for("task.run-started.v1", "sleeper")

    tally.publish("task.cancel.v1", {"task_id": "sleeper", "reason": "wrong day"})

    assert tally.wait_ended("sleeper") == {"sleeper": "cancelled"}
    cancelled = tally.wait_for("task.cancelled.v1", "sleeper").data
    assert (cancelled["reason"], cancelled["verified"]) == ("wrong day", True)


def test_a_run_past_its_time_is_stopped_and_has_timed_out(tally: Platform) -> None:
    sleeper = {"image": BUSYBOX, "command": ["sleep", "300"]}
    tally.publish(
        "task.submit.v1",
        {"task_id": "too-long", "container": sleeper, "timeouts": {"run": "PT1S", "stop": "PT1S"}},
    )

    assert tally.wait_ended("too-long") == {"too-long": "failed"}
    assert tally.wait_for("task.failed.v1", "too-long").data["reason"] == "timeout"


def test_a_result_file_becomes_the_task_s_result(tally: Platform) -> None:
    writer = {
        "image": BUSYBOX,
        "command": ["sh", "-c", "echo '{\"rows\": 3}' > /tally/result.json"],
        "result": "/tally/result.json",
    }
    tally.publish("task.submit.v1", {"task_id": "writer", "container": writer})

    assert tally.wait_ended("writer") == {"writer": "succeeded"}
    assert tally.wait_for("task.succeeded.v1", "writer").data["result"] == {"rows": 3}


def test_the_task_type_sleep_prints_its_message_when_done(tally: Platform) -> None:
    tally.publish(
        "task.submit.v1", {"task_id": "nap", "task_type": "sleep", "input": {"seconds": 1, "message": "rested"}}
    )

    assert tally.wait_ended("nap") == {"nap": "succeeded"}
    log = tally.wait_for("task.run-succeeded.v1", "nap").data["log"]
    assert log["bytes"] == len("rested\n")
