"""A broker that has just come back lets clients in before its queues are led again."""

from pathlib import Path

import pytest

from adapters.topology import declare
from infra.dev import rabbitmq
from infra.topology import TOPOLOGY

pytestmark = [pytest.mark.integration, pytest.mark.slow]


async def test_the_topology_can_be_declared_again_as_soon_as_a_restarted_broker_lets_us_in(tmp_path: Path) -> None:
    first = rabbitmq.start(tmp_path)
    try:
        await declare(first.urls()["tally"], TOPOLOGY)
    finally:
        first.stop()

    with rabbitmq.start(tmp_path) as second:
        await declare(second.urls()["tally"], TOPOLOGY)
