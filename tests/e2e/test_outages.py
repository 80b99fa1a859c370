"""Every connection cut, to the database or to the broker: all goes on by itself, and nothing is lost or done twice."""

from collections import Counter
from urllib.parse import quote, urlsplit

import psycopg
import pytest

from infra.engine_watch import Sightings, watching
from tests.e2e.conftest import MakePlatform
from tests.support.broker import Management
from tests.support.platform import BUSYBOX, Platform
from tests.support.ran_once import assert_each_ran_once
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

PROCESSES = ("handler", "conductor", "messenger", "projector", "relay", "logkeeper", "worker")
TASKS = [f"cut-{number}" for number in range(8)]


def submit_all(tally: Platform, seconds: str) -> None:
    for number, task in enumerate(TASKS):
        needs = [{"task_id": TASKS[number - 4]}] if number >= 4 else []
        container = {"image": BUSYBOX, "command": ["sleep", seconds]}
        tally.publish("task.submit.v1", {"task_id": task, "container": container, "depends_on": needs})


def check(tally: Platform, sightings: Sightings) -> None:
    ends = tally.wait_ended(*TASKS, seconds=120)
    assert Counter(ends.values()) == {"succeeded": len(TASKS)}
    assert_each_ran_once(tally, sightings, *TASKS)
    tally.wait_caught_up("projector", "relay", seconds=60)
    assert {row[0] for row in tally.rows("SELECT status FROM tasks")} == {"succeeded"}


def test_every_database_connection_may_be_cut(make_platform: MakePlatform, docker_host: str) -> None:
    with make_platform(PROCESSES) as tally, watching(docker_host) as sightings:
        submit_all(tally, "1")
        tally.wait_for("task.run-started.v1", TASKS[0])

        with psycopg.connect(tally.system.addresses.database, autocommit=True) as operator:
            cut = operator.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name LIKE 'tally %'"
            ).fetchone()

        assert cut is not None
        assert cut[0] >= 8
        check(tally, sightings)


def test_every_broker_connection_may_be_cut(
    make_platform: MakePlatform, broker: tuple[dict[str, str], Management], docker_host: str
) -> None:
    with make_platform(PROCESSES) as tally, watching(docker_host) as sightings:
        submit_all(tally, "4")
        tally.wait_for("task.run-started.v1", TASKS[0])
        vhost = urlsplit(tally.system.addresses.amqp["tally"]).path.lstrip("/")

        def open_ones() -> list[str]:
            return [one["name"] for one in broker[1].call("GET", f"/vhosts/{vhost}/connections")]

        until(lambda: len(open_ones()) >= 8, "the broker lists its connections", 20)
        for name in open_ones():
            broker[1].call("DELETE", f"/connections/{quote(name, safe='')}")

        check(tally, sightings)
