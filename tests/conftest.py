"""What every kind of test may ask for. Server fixtures hand out addresses only; see tests/support/stack.py."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from infra.dev.errors import DevError
from tests.support import database
from tests.support.broker import Management, Vhost, vhost_urls
from tests.support.database import Database
from tests.support.platform import MakePlatform, Platform, platform
from tests.support.stack import Servers, choose

KINDS = ("unit", "contract", "integration", "e2e")  # the order in which they run
NEEDS = {"pg_template": "postgres", "broker": "broker", "docker_host": "engine"}
SERVERS = pytest.StashKey[Servers]()
REASON = pytest.StashKey[str]()
Result = TypeVar("Result")

# A machine with other work to do is slow, and no test is about that.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    wanted = os.environ.get("TALLY_STACK", "auto")
    try:
        source, config.stash[REASON] = choose(wanted)
    except DevError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[SERVERS] = Servers(source)


def pytest_unconfigure(config: pytest.Config) -> None:
    if SERVERS in config.stash:
        config.stash[SERVERS].close()


def pytest_report_header(config: pytest.Config) -> str:
    return f"stack: {config.stash[REASON]}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests first: the broker needs nine seconds to start."""
    items.sort(key=lambda item: next((i for i, kind in enumerate(KINDS) if kind in item.path.parts), 0))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start in the background what the collected tests will ask for."""
    if session.config.option.collectonly:
        return
    asked = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    for fixture, server in NEEDS.items():
        if fixture in asked:
            session.config.stash[SERVERS].begin(server)


def required(start: Callable[[], Result]) -> Result:
    """What `start` provides. What is missing fails the test; TALLY_ALLOW_SKIP=1 skips it instead."""
    try:
        return start()
    except DevError as error:
        if os.environ.get("TALLY_ALLOW_SKIP") == "1":
            pytest.skip(str(error))
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Servers:
    return request.config.stash[SERVERS]


@pytest.fixture(scope="session")
def pg_template(servers: Servers) -> Iterator[str]:
    """Name of a migrated database."""
    with database.template(required(servers.postgres)) as name:
        yield name


@pytest.fixture
def pg(servers: Servers, pg_template: str) -> Iterator[Database]:
    """A migrated database of this test's own, as each role sees it."""
    with database.copy_of(servers.postgres(), pg_template) as copy:
        yield copy


@pytest.fixture(scope="session")
def broker(servers: Servers) -> tuple[dict[str, str], Management]:
    """AMQP URLs of the accounts in a shared virtual host, and the management API."""
    urls, management = required(servers.broker)
    return urls, Management(management)


@pytest.fixture
def vhost(broker: tuple[dict[str, str], Management]) -> Iterator[Vhost]:
    """A virtual host of this test's own, with the AMQP URL of each account."""
    urls, management = broker
    name = f"test-{secrets.token_hex(6)}"
    management.add_vhost(name)
    yield vhost_urls(name, urls)
    management.delete_vhost(name)


@pytest.fixture(scope="session")
def docker_host(servers: Servers) -> str:
    """Address of a container engine that has both base images."""
    return required(servers.engine)[0]


@pytest.fixture(scope="session")
def make_platform(
    servers: Servers,
    pg_template: str,
    broker: tuple[dict[str, str], Management],
    tmp_path_factory: pytest.TempPathFactory,
) -> MakePlatform:
    """Start a platform of one's own: `with make_platform(processes, SETTING=value) as platform`."""

    def make(*args: Any, **extra: str) -> AbstractContextManager[Platform]:
        return platform(servers, pg_template, broker[1], tmp_path_factory.mktemp("platform"), *args, **extra)

    return make
