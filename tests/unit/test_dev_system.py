"""What `tally dev` decides before anything runs: its ports, and which folder it may empty."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.dev.children import free_ports
from infra.dev_file import DevSystem
from infra.dev_system import CannotStart, empty, environment, greeting, ports_moved, ports_near
from infra.setting_groups import Metrics
from infra.settings import Settings

UP = DevSystem(
    pid=1,
    started=1,
    api_url="http://127.0.0.1:8080",
    issuer_url="http://127.0.0.1:8081",
    client_id="admin",
    client_secret="s",
    amqp_url="amqp://client@127.0.0.1:5672",
    database_url="postgresql://tally_app@127.0.0.1/tally",
    database_owner_url="postgresql://postgres@127.0.0.1/tally",
    management_url="",
    metrics_url="http://127.0.0.1:9464/metrics",
)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_ports_that_are_free_are_taken_as_wished() -> None:
    wished = free_ports(2)
    assert ports_near(*wished) == wished


def test_a_port_that_was_moved_is_not_given_away_again(taken: int) -> None:
    first, second = ports_near(taken, taken + 1)
    assert first > taken
    assert second > first


def test_two_wishes_for_one_port_are_two_ports() -> None:
    [wished] = free_ports(1)
    first, second = ports_near(wished, wished)
    assert first == wished
    assert second > wished


def test_any_ports_are_different_ports() -> None:
    assert len(set(ports_near(0, 0, 0))) == 3


def test_metrics_are_served_on_the_port_that_was_found_unless_they_are_switched_off() -> None:
    assert environment(Settings(), 9470) == {
        "TALLY_LOG__FORMAT": "json",
        "TALLY_OTEL__SAMPLE": "1",
        "TALLY_METRICS__ENABLED": "true",
        "TALLY_METRICS__PORT": "9470",
    }
    off = Settings(metrics=Metrics(enabled=False))
    assert "TALLY_METRICS__ENABLED" not in environment(off, 9470)


def test_a_greeting_names_every_address_and_what_has_moved() -> None:
    dev = replace(UP, metrics_url="http://127.0.0.1:9465/metrics")

    said = "\n".join(greeting(dev, "a token", 3.2))
    moved = ports_moved(dev, Settings())

    assert [url for url in (dev.api_url, dev.issuer_url, dev.metrics_url, dev.amqp_url) if url not in said] == []
    assert "/openapi.json" in said
    assert moved == ["port 9464 is taken: http://127.0.0.1:9465/metrics instead"]


def test_a_greeting_says_nothing_of_metrics_that_are_off() -> None:
    dev = replace(UP, metrics_url="")

    assert "metrics" not in "\n".join(greeting(dev, "a token", 3.2))
    assert ports_moved(dev, Settings()) == []


def test_a_folder_with_other_things_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CannotStart, match=r"thesis\.txt, which is not ours"):
        empty(tmp_path)
    assert (tmp_path / "thesis.txt").exists()

    (tmp_path / "thesis.txt").unlink()
    empty(tmp_path)
    assert not tmp_path.exists()
