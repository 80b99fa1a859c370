"""The container engine comes late, and goes away in the middle: runs wait for it, and none runs twice."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.dev import engine_api
from tests.support.engine_relay import EngineRelay, relay
from tests.support.platform import BUSYBOX, MakePlatform, Platform, remove_containers
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

PROCESSES = ("handler", "conductor", "messenger", "logkeeper")


@contextmanager
def cleared(tally: Platform, docker_host: str) -> Generator[None]:
    try:
        yield
    finally:
        remove_containers(docker_host, tally.system.addresses.database)


@pytest.fixture
def engine(docker_host: str, tmp_path: Path) -> Generator[EngineRelay]:
    with relay(tmp_path / "engine.sock", docker_host) as engine:
        yield engine


def submit(tally: Platform, task: str, *command: str) -> None:
    tally.publish("task.submit.v1", {"task_id": task, "container": {"image": BUSYBOX, "command": command}})


def test_a_worker_that_found_no_engine_runs_containers_as_soon_as_one_is_there(
    make_platform: MakePlatform, docker_host: str, engine: EngineRelay
) -> None:
    with make_platform(PROCESSES) as tally, cleared(tally, docker_host):
        tally.system.start("worker", DOCKER_HOST=engine.host)
        tally.publish("task.submit.v1", {"task_id": "nothing", "executor": "noop"})
        submit(tally, "something", "true")
        assert tally.wait_ended("nothing") == {"nothing": "succeeded"}
        assert tally.types("something") == ["submitted", "queued"]

        engine.open()

        assert tally.wait_ended("something") == {"something": "succeeded"}
        workers = [event.data for event in tally.events() if event.type == "worker.registered.v1"]
        assert [(one["generation"], one["executors"]) for one in workers] == [(1, ["noop"]), (2, ["docker", "noop"])]


def test_a_run_whose_engine_goes_away_is_followed_again_and_ended_as_it_ended(
    make_platform: MakePlatform, docker_host: str, engine: EngineRelay
) -> None:
    with make_platform(PROCESSES) as tally, cleared(tally, docker_host):
        engine.open()
        tally.system.start("worker", TALLY_WORKER__ENGINE=engine.host)
        submit(tally, "long", "sh", "-c", "echo one; sleep 2; echo two; exit 3")
        started = tally.wait_for("task.run-started.v1", "long")

        engine.cut()
        until(lambda: _exited(docker_host, started.data["container_id"]), "the container has ended", 20)
        engine.open()

        assert tally.wait_ended("long") == {"long": "failed"}
        failed = tally.wait_for("task.run-failed.v1", "long").data
        assert (failed["exit_code"], failed["log"]["bytes"]) == (3, len("one\ntwo\n"))
        assert [one for one in tally.types("long") if one.startswith("run-")] == [
            "run-leased", "run-started", "run-failed",
        ]  # fmt: skip


def test_a_run_whose_engine_stays_away_costs_its_task_one_run_and_no_more_are_taken_until_it_is_back(
    make_platform: MakePlatform, docker_host: str, engine: EngineRelay
) -> None:
    with make_platform(PROCESSES) as tally, cleared(tally, docker_host):
        engine.open()
        tally.system.start("worker", TALLY_WORKER__ENGINE=engine.host)
        submit(tally, "first", "true")
        assert tally.wait_ended("first") == {"first": "succeeded"}
        engine.cut()

        submit(tally, "second", "true")
        lost = tally.wait_for("task.run-lost.v1", "second").data
        assert (lost["run"], lost["certain"], lost["error"]["code"]) == (1, True, "engine-down")
        assert tally.wait_for("task.lease-expired.v1", "second").data["accepted"] is False
        engine.open()

        assert tally.wait_ended("second") == {"second": "succeeded"}
        ends = [one for one in tally.types("second") if one in ("run-lost", "run-failed", "run-succeeded", "succeeded")]
        assert ends == ["run-lost", "run-succeeded", "succeeded"]


def _exited(docker_host: str, container: str) -> bool:
    _, found = engine_api.call(docker_host, "GET", f"/containers/{container}/json")
    return bool(found["State"]["Status"] == "exited")
