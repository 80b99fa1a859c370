"""SIGKILL in the middle of a workflow: nothing is lost, nothing runs twice."""

from collections import Counter

import pytest

from infra.dev import engine_api
from infra.engine_watch import watching
from tests.support.invariants import assert_each_ran_once, assert_views_are_the_fold
from tests.support.platform import ALL, BUSYBOX, MakePlatform, Platform
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

WIDTH = 6


def fan(name: str, command: list[str]) -> dict[str, object]:
    """One task, then WIDTH beside each other, then one."""
    container = {"image": BUSYBOX, "command": command}
    middle = [f"{name}.{number}" for number in range(WIDTH)]
    first: dict[str, object] = {"task_id": f"{name}.first", "container": container}
    last = {"task_id": f"{name}.last", "container": container, "depends_on": [{"task_id": one} for one in middle]}
    tasks = [
        first,
        *({"task_id": one, "container": container, "depends_on": [{"task_id": f"{name}.first"}]} for one in middle),
        last,
    ]
    return {"workflow_id": name, "tasks": tasks}


def names(name: str) -> list[str]:
    return [f"{name}.first", *(f"{name}.{number}" for number in range(WIDTH)), f"{name}.last"]


def gone(engine: str, container: str) -> bool:
    return engine_api.call(engine, "GET", f"/containers/{container}/json")[0] == 404


def restart(platform: Platform, process: str) -> None:
    platform.system.kill(process)
    platform.system.start(process)


@pytest.mark.parametrize("process", ["handler", "conductor", "worker"])
def test_a_killed_process_loses_nothing_and_runs_nothing_twice(
    make_platform: MakePlatform, docker_host: str, process: str
) -> None:
    processes = ("handler", "conductor", "messenger", "projector", "logkeeper", "worker")
    with make_platform(processes) as tally, watching(docker_host) as sightings:
        tally.publish("task.submit-workflow.v1", fan("kill", ["sleep", "1"]))
        tally.wait_for("task.run-started.v1", "kill.0")

        restart(tally, process)
        ends = tally.wait_ended(*names("kill"), seconds=120)

        assert Counter(ends.values()) == {"succeeded": WIDTH + 2}
        assert_each_ran_once(tally, sightings, *names("kill"))


def test_all_processes_killed_at_once_lose_nothing_and_run_nothing_twice(
    make_platform: MakePlatform, docker_host: str
) -> None:
    with make_platform(ALL) as tally, watching(docker_host) as sightings:
        tally.publish("task.submit-workflow.v1", fan("all", ["sleep", "2"]))
        tally.wait_for("task.run-started.v1", "all.0")

        tally.system.kill()
        tally.publish("task.submit.v1", {"task_id": "meanwhile", "executor": "noop"})
        tally.system.start(*ALL)
        ends = tally.wait_ended(*names("all"), "meanwhile", seconds=120)

        assert Counter(ends.values()) == {"succeeded": WIDTH + 3}
        assert_each_ran_once(tally, sightings, *names("all"))
        assert_views_are_the_fold(tally)


@pytest.mark.parametrize("why", ["cancelled", "timeout"])
def test_a_run_being_stopped_when_its_worker_is_killed_is_stopped_by_the_next(
    make_platform: MakePlatform, docker_host: str, why: str
) -> None:
    with make_platform(("handler", "conductor", "messenger", "worker")) as tally:
        timeouts = {"run": "PT1H" if why == "cancelled" else "PT1S", "stop": "PT6S"}
        stubborn = {"image": BUSYBOX, "command": ["sleep", "300"]}
        tally.publish("task.submit.v1", {"task_id": "stopped", "container": stubborn, "timeouts": timeouts})
        tally.wait_for("task.run-started.v1", "stopped")
        if why == "cancelled":
            tally.publish("task.cancel.v1", {"task_id": "stopped", "grace": "PT6S"})
        tally.wait_for("task.cancelling.v1" if why == "cancelled" else "task.run-timing-out.v1", "stopped")

        restart(tally, "worker")
        ends = tally.wait_ended("stopped", seconds=30)

        assert ends == {"stopped": "cancelled" if why == "cancelled" else "failed"}
        assert tally.events("stopped")[-1].data["verified"]
        finished = tally.wait_for("task.run-failed.v1", "stopped")
        assert (finished.data["reason"], finished.data["signal"]) == (why, "KILL")
        container = tally.wait_for("task.run-started.v1", "stopped").data["container_id"]
        until(lambda: gone(docker_host, container), f"container {container} removed", 15)


def test_two_handlers_share_the_commands_and_decide_each_once(make_platform: MakePlatform) -> None:
    processes = ("handler", "handler:2", "conductor", "messenger", "worker")
    with make_platform(processes) as tally:
        tasks = [f"two-{number}" for number in range(40)]
        ids = [tally.publish("task.submit.v1", {"task_id": task, "executor": "noop"}) for task in tasks]
        for task, command_id in zip(tasks, ids, strict=True):
            tally.publish("task.submit.v1", {"task_id": task, "executor": "noop"}, command_id)

        ends = tally.wait_ended(*tasks)

        assert Counter(ends.values()) == {"succeeded": len(tasks)}
        assert Counter(event.type for event in tally.events())["task.submitted.v1"] == len(tasks)


def test_commands_published_while_nothing_runs_are_all_done_later(make_platform: MakePlatform) -> None:
    processes = ("handler", "conductor", "messenger", "worker")
    with make_platform(processes) as tally:
        tally.system.stop()
        for number in range(5):
            tally.publish("task.submit.v1", {"task_id": f"early-{number}", "executor": "noop"})

        tally.system.start(*processes)

        assert Counter(tally.wait_ended(*(f"early-{n}" for n in range(5))).values()) == {"succeeded": 5}
