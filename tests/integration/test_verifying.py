"""The fold of the log equals the views, and a row that does not is found."""

from collections.abc import Iterable
from typing import Any

import psycopg
import pytest
from eventsourcing.application import Repository
from eventsourcing.persistence import EventStore

from adapters.recorder import EventMapper, Happened, LogRecorder, open_datastore
from adapters.seat import PgSeat
from adapters.verifying import verify
from adapters.views import ProjectorPgTurn
from consumers.projector import Project
from domain.task_states import Queued, Task, evolve
from domain.views import VIEWS
from tests.integration.test_projector import append
from tests.support.database import Database
from tests.support.histories import TASK, TASK_2, TASK_3, run_id, whole

pytestmark = pytest.mark.integration


async def projected(pg: Database) -> None:
    """Two tasks in the views, a third that is only in the log."""
    await append(pg.app, [*whole(TASK), *whole(TASK_2)])
    async with PgSeat(pg.app, "projector", ProjectorPgTurn) as seat:
        await Project(seat)(await seat.page(1000))
    await append(pg.app, whole(TASK_3))


async def test_the_fold_of_the_log_equals_the_views_up_to_the_projectors_position(pg: Database) -> None:
    await projected(pg)

    verified = verify(pg.read, list(VIEWS))

    assert verified.equal
    assert (verified.position, verified.events) == (12, 12)
    assert verified.rows == {**dict.fromkeys(VIEWS, 0), "tasks": 2, "runs": 2}


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE tasks SET status = 'failed' WHERE id = %s",
        "DELETE FROM tasks WHERE id = %s",
        "UPDATE tasks SET labels = '{}' WHERE id = %s",
    ],
)
async def test_a_row_that_is_not_what_the_log_says_is_found(pg: Database, damage: str) -> None:
    await projected(pg)
    with psycopg.connect(pg.owner) as connection:
        connection.execute(damage.encode(), (TASK_2,))

    verified = verify(pg.read, ["tasks", "runs"])

    assert not verified.equal
    assert verified.differing == {"tasks": frozenset({TASK_2}), "runs": frozenset()}


async def test_a_row_that_nothing_in_the_log_made_is_found(pg: Database) -> None:
    await projected(pg)
    with psycopg.connect(pg.owner) as connection:
        connection.execute("UPDATE runs SET id = %s WHERE id = %s", (TASK_3, run_id()))

    assert verify(pg.read, ["runs"]).differing == {"runs": frozenset({TASK_3, run_id()})}


async def test_the_librarys_repository_shows_a_task_as_it_was(pg: Database) -> None:
    await projected(pg)

    def project(task: Task | None, events: Iterable[Happened]) -> Task | None:
        for one in events:
            task = evolve(task, one.originator_id, one.event)
        return task

    with open_datastore(pg.read) as datastore:
        repository: Any = Repository(EventStore(EventMapper(), LogRecorder(datastore)))
        task = repository.get(TASK, version=2, projector_func=project)

    assert isinstance(task, Queued)
    assert task.version == 2
