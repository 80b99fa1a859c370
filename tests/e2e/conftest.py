"""One platform for the tests that do it no harm; tests that kill make their own."""

import signal
from collections.abc import Iterator

import pytest

from tests.support.platform import MakePlatform, Platform


@pytest.fixture(scope="session", autouse=True)
def as_from_a_terminal() -> Iterator[None]:
    """Ctrl-C reaches what the tests start: a job in the background of a script would ignore it, and they with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def make_platform(make_platform: MakePlatform, docker_host: str) -> MakePlatform:
    """Where there is an engine."""
    return make_platform


@pytest.fixture(scope="session")
def tally(make_platform: MakePlatform) -> Iterator[Platform]:
    """A platform with every process, shared."""
    with make_platform() as running:
        yield running
