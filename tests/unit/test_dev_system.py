"""What `tally dev` decides before anything runs: its ports, and which folder it may empty."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.dev.children import free_ports
from infra.dev_system import CannotStart, empty, ports_near


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


def test_a_folder_with_other_things_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CannotStart, match=r"thesis\.txt, which is not ours"):
        empty(tmp_path)
    assert (tmp_path / "thesis.txt").exists()

    (tmp_path / "thesis.txt").unlink()
    empty(tmp_path)
    assert not tmp_path.exists()
