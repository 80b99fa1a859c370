"""The database or the broker cut off, or killed and back: all goes on by itself, nothing is lost or done twice."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest

from infra.dev import postgres, rabbitmq
from infra.engine_watch import Sightings, watching
from tests.support import database
from tests.support.broker import Management
from tests.support.invariants import assert_each_ran_once, assert_views_are_the_fold
from tests.support.platform import BUSYBOX, MakePlatform, Platform, platform
from tests.support.stack import Servers
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

PROCESSES = ("handler", "conductor", "messenger", "projector", "relay", "logkeeper", "worker")
TASKS = [f"cut-{number}" for number in range(8)]


@dataclass(frozen=True, slots=True)
class OneOfItsOwn:
    """The servers of the test run, but for one that this test may kill."""

    postgres: Callable[[], str]
    broker: Callable[[], tuple[dict[str, str], str]]
    engine: Callable[[], tuple[str, str]]


def submit_all(tally: Platform, seconds: str) -> None:
    for number, task in enumerate(TASKS):
        needs = [{"task_id": TASKS[number - 4]}] if number >= 4 else []
        container = {"image": BUSYBOX, "command": ["sleep", seconds]}
        tally.publish("task.submit.v1", {"task_id": task, "container": container, "depends_on": needs})


def check(tally: Platform, sightings: Sightings) -> None:
    ends = tally.wait_ended(*TASKS, seconds=120)
    assert Counter(ends.values()) == {"succeeded": len(TASKS)}
    assert_each_ran_once(tally, sightings, *TASKS)
    tally.wait_caught_up("relay", seconds=60)
    assert_views_are_the_fold(tally)
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


def test_the_database_may_be_killed_and_come_back(
    servers: Servers, broker: tuple[dict[str, str], Management], docker_host: str, tmp_path: Path
) -> None:
    with ExitStack() as started, ExitStack() as contexts:
        running = started.enter_context(postgres.start(tmp_path / "postgres", fsync=False))
        template = contexts.enter_context(database.template(running.dsn))
        own = OneOfItsOwn(lambda: running.dsn, servers.broker, servers.engine)
        tally = contexts.enter_context(platform(own, template, broker[1], tmp_path / "system", PROCESSES))
        sightings = contexts.enter_context(watching(docker_host))
        submit_all(tally, "2")
        container = tally.wait_for("task.run-started.v1", TASKS[0]).data["container_id"]

        os.kill(running.pid, signal.SIGKILL)
        running.stop()
        assert not sightings.wait_ended({container}, 30)
        started.enter_context(postgres.start(tmp_path / "postgres", running.port, fsync=False))
        tally.connection = contexts.enter_context(psycopg.connect(tally.system.addresses.database, autocommit=True))

        check(tally, sightings)


def test_the_broker_may_be_killed_and_come_back(
    servers: Servers, pg_template: str, docker_host: str, tmp_path: Path
) -> None:
    with ExitStack() as started, ExitStack() as contexts:
        running = rabbitmq.start(tmp_path / "rabbitmq")
        started.callback(running.kept.stop)
        own = OneOfItsOwn(servers.postgres, lambda: (running.urls(), running.management_url), servers.engine)
        management = Management(running.management_url)
        tally = contexts.enter_context(platform(own, pg_template, management, tmp_path / "system", PROCESSES))
        sightings = contexts.enter_context(watching(docker_host))
        submit_all(tally, "2")
        container = tally.wait_for("task.run-started.v1", TASKS[0]).data["container_id"]

        running.kill()
        assert not sightings.wait_ended({container}, 30)
        started.enter_context(rabbitmq.start(tmp_path / "rabbitmq", running.ports))

        check(tally, sightings)
