"""One platform for the tests that do it no harm; tests that kill make their own."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.support.broker import Management
from tests.support.platform import Platform, platform
from tests.support.stack import Servers

MakePlatform = Callable[..., AbstractContextManager[Platform]]


@pytest.fixture(scope="session", autouse=True)
def as_from_a_terminal() -> Iterator[None]:
    """Ctrl-C reaches what the tests start, also where they are a job in the background, which ignores it by heritage."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def make_platform(
    servers: Servers,
    pg_template: str,
    broker: tuple[dict[str, str], Management],
    docker_host: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> MakePlatform:
    """Start a platform of one's own: `with make_platform(processes, SETTING=value) as platform`."""

    def make(*args: Any, **extra: str) -> AbstractContextManager[Platform]:
        return platform(servers, pg_template, broker[1], tmp_path_factory.mktemp("platform"), *args, **extra)

    return make


@pytest.fixture(scope="session")
def tally(make_platform: MakePlatform) -> Iterator[Platform]:
    """A platform with every process, shared."""
    with make_platform() as running:
        yield running
