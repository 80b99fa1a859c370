"""The contract that the `eventsourcing` library ships for its recorders, run on ours.

| its test case                   | here                                                                             |
|---------------------------------|----------------------------------------------------------------------------------|
| AggregateRecorderTestCase       | not applicable: it is for recorders without positions (snapshots); none are kept |
| ApplicationRecorderTestCase     | all; where it numbers streams from 0, `FromOne` makes that 1, as ours begin      |
| TrackingRecorderTestCase        | all, on the table `consumers`                                                    |
| ProcessRecorderTestCase         | all, numbered as above                                                           |
| NonInterleavingNotificationIDs  | all, numbered as above: commit order is the order of positions                   |
| subscriptions (optional)        | not offered: they may miss a wake-up; test_event_log holds our followers to more |
| InfrastructureFactoryTestCase   | not applicable: nothing is built by topic from the environment                   |
| transcoders, mappers            | not applicable: states are our own JSON                                          |
"""

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import ModuleType
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, NotSupportedError, StoredEvent

from adapters.recorder import LogRecorder, open_datastore
from tests.support.database import Database

# The module of the test cases imports the library's cipher too, and that a package which nothing here needs.
cipher = ModuleType("eventsourcing.cipher")
cipher.AESCipher = None  # type: ignore[attr-defined]
sys.modules.setdefault(cipher.__name__, cipher)
from eventsourcing.tests import persistence as cases  # noqa: E402

pytestmark = pytest.mark.integration


class FromOne(LogRecorder):
    """Takes streams that are numbered from 0."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        by_one = [replace(event, originator_version=event.originator_version + 1) for event in stored_events]
        return super().insert_events(by_one, **kwargs)


class OnOurLog:
    """Gives a test case of the library's a database of its own."""

    recorder: ClassVar[type[LogRecorder]] = LogRecorder
    _pg: Database
    _closing: ExitStack

    @pytest.fixture(autouse=True)
    def _database(self, pg: Database) -> Generator[None]:
        self._pg = pg
        with ExitStack() as self._closing:
            yield

    def create_recorder(self) -> LogRecorder:
        return self.recorder(self._closing.enter_context(open_datastore(self._pg.app)))


class TestApplicationRecorder(OnOurLog, cases.ApplicationRecorderTestCase[LogRecorder]):
    def test_concurrent_no_conflicts(self, initial_position: int = 0) -> None:  # noqa: PT028
        self.__class__.recorder = FromOne
        super().test_concurrent_no_conflicts(initial_position)

    def test_concurrent_throughput(self) -> None:
        self.__class__.recorder = FromOne
        super().test_concurrent_throughput()

    def tearDown(self) -> None:
        self.__class__.recorder = LogRecorder


class TestTrackingRecorder(OnOurLog, cases.TrackingRecorderTestCase):
    pass


class TestProcessRecorder(OnOurLog, cases.ProcessRecorderTestCase):
    def test_performance(self) -> None:
        self.__class__.recorder = FromOne
        super().test_performance()

    def tearDown(self) -> None:
        self.__class__.recorder = LogRecorder


class TestNonInterleaving(OnOurLog, cases.NonInterleavingNotificationIDsBaseCase):
    recorder = FromOne


STREAM = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7e01")


@pytest.fixture
def recorder(pg: Database) -> Generator[LogRecorder]:
    with open_datastore(pg.app) as datastore:
        yield LogRecorder(datastore)


def test_a_stream_begins_with_version_1_and_has_no_gaps(recorder: LogRecorder) -> None:
    for version in (0, 2):
        with pytest.raises(IntegrityError, match="moved"):
            recorder.insert_events([StoredEvent(STREAM, version, "t", b"{}")])
    assert recorder.insert_events([StoredEvent(STREAM, 1, "t", b"{}")]) == [1]


def test_events_of_the_library_carry_what_ours_carry(recorder: LogRecorder) -> None:
    recorder.insert_events([StoredEvent(STREAM, 1, "t", b"{}")], namespace="analytics")

    (event,) = recorder.recorded(0, 10, 10)

    assert (event.stream, event.version, event.namespace, event.cause.actor) == (
        STREAM,
        1,
        "analytics",
        "eventsourcing",
    )


def test_subscriptions_are_refused_and_say_what_to_use(recorder: LogRecorder) -> None:
    with pytest.raises(NotSupportedError, match="PgSeat"):
        recorder.subscribe()


ROLES: list[Callable[[Database], str]] = [lambda pg: pg.app, lambda pg: pg.read, lambda pg: pg.owner]


@pytest.mark.parametrize("statement", ["UPDATE events SET topic = 'x'", "DELETE FROM events", "TRUNCATE events"])
@pytest.mark.parametrize("role", ROLES)
def test_nobody_changes_what_is_recorded(
    pg: Database, recorder: LogRecorder, statement: str, role: Callable[[Database], str]
) -> None:
    recorder.insert_events([StoredEvent(STREAM, 1, "t", b"{}")])

    with psycopg.connect(role(pg)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())
