"""What is declared at the broker, and its export."""

from pathlib import Path

import pytest

from adapters.in_memory.broker import fits
from infra import definitions
from infra.topology import TOPOLOGY, work_queue, worker_topology

ROOT = Path(__file__).parents[2]


def test_the_checked_in_definitions_are_todays() -> None:
    assert (ROOT / definitions.FILE).read_text() == definitions.text()


def test_every_exchange_but_those_for_work_and_the_unrouted_has_a_queue() -> None:
    bound = {binding.exchange for binding in TOPOLOGY.bindings}

    assert {exchange.name for exchange in TOPOLOGY.exchanges} - bound == {"task.work", "task.unrouted"}


def test_no_queue_of_commands_reports_or_logs_drops_what_it_gives_up_on() -> None:
    queues = {queue.name: queue.arguments for queue in TOPOLOGY.queues}

    for name in ("task.commands.handler", "task.reports.handler", "task.logs.keeper"):
        assert queues[name] == {
            "x-queue-type": "quorum",
            "x-delivery-limit": 100,
            "x-dead-letter-exchange": "task.dead",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }


def test_a_worker_is_reached_by_its_id_and_by_all() -> None:
    topology = worker_topology("host-1")

    assert work_queue("host-1") == "task.work.host-1"
    assert {(binding.exchange, binding.queue, binding.key) for binding in topology.bindings} == {
        ("task.work", "task.work.host-1", "host-1"),
        ("task.work", "task.work.host-1", "all"),
    }


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("#", "", True),
        ("#", "task.submit.analytics", True),
        ("*.failed.*", "task.failed.analytics", True),
        ("*.failed.*", "task.failed", False),
        ("#.analytics", "task.failed.analytics", True),
        ("#.analytics", "analytics", True),
        ("task.#.x", "task.x", True),
        ("task.*.x", "task.x", False),
        ("task.run-failed._", "task.run-failed._", True),
    ],
)
def test_binding_keys_fit_as_a_topic_exchange_fits_them(pattern: str, key: str, expected: bool) -> None:
    assert fits(pattern, key) is expected
