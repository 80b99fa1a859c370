"""What a caller has is only said to be the newest when nothing in it has changed."""

import asyncio
import json
from typing import Any
from uuid import UUID

import psycopg
import pytest

from adapters.queries import PgQueries
from domain import events as e
from domain.ports.querying import TaskFilter
from domain.recorded import new_events
from tests.support.database import Database
from tests.support.histories import CAUSE, HELLO, TASK, TASK_2, WORKFLOW, queued, submitted, whole
from tests.support.http_api import Running

pytestmark = pytest.mark.integration
GRAPH = e.WorkflowSubmitted(workflow_id="F1", tasks=(e.Node(task_id="T1", stream=TASK),))
IN_GRAPH = submitted(HELLO, "T1", workflow_id="F1", workflow=str(WORKFLOW))


async def test_a_workflow_is_new_when_one_of_its_tasks_is(api: Running) -> None:
    submission = new_events(WORKFLOW, 0, "default", [GRAPH], CAUSE)
    there = await api.append(*submission, *new_events(TASK, 0, "default", [IN_GRAPH], CAUSE))
    first = await api.get(f"/v1/workflows/{WORKFLOW}?after_position={there}")
    mark = {"If-None-Match": first.headers["etag"]}
    assert (await api.get(f"/v1/workflows/{WORKFLOW}", headers=mark)).status_code == 304

    polling = asyncio.create_task(api.get(f"/v1/workflows/{WORKFLOW}?wait=PT10S", headers=mark))
    await api.append(*new_events(TASK, 1, "default", [queued()], CAUSE))

    newer = await polling
    assert newer.status_code == 200
    assert [node["status"] for node in json.loads(newer.text)["nodes"]] == ["queued"]
    assert newer.headers["etag"] != first.headers["etag"]


async def test_new_dead_letters_are_seen_by_who_has_the_list_of_before(api: Running, pg: Database) -> None:
    def keep(id: UUID) -> None:
        with psycopg.connect(pg.app) as connection:
            connection.execute(
                "INSERT INTO dead_letters (id, queue, reason, detail, headers, body, digest) "
                "VALUES (%s, 'q', 'bad-json', '', '{}', '', '')",
                (id,),
            )

    await api.append(*whole())
    keep(TASK)
    first = await api.get("/v1/dead-letters")
    keep(TASK_2)

    again = await api.get("/v1/dead-letters", headers={"If-None-Match": first.headers.get("etag", '"p6"')})

    assert [letter["id"] for letter in json.loads(again.text)] == [str(TASK_2), str(TASK)]


async def test_any_version_is_one_that_the_caller_has(api: Running) -> None:
    there = await api.append(*whole())
    await api.get(f"/v1/tasks?after_position={there}")
    for path in ("/v1/tasks", f"/v1/tasks/{TASK}", f"/v1/tasks/{TASK}/result"):
        mark = (await api.get(path)).headers["etag"]
        for known in (mark, f'"v1", {mark}', "*"):
            answer = await api.get(path, headers={"If-None-Match": known})
            assert (path, known, answer.status_code, answer.content) == (path, known, 304, b"")
            assert answer.headers["etag"] == mark


class Moving:
    """A database whose views move on just after an empty page of tasks was read."""

    def __init__(self) -> None:
        self.head = 5

    async def rows(self, text: str, *parameters: object) -> list[tuple[Any, ...]]:
        if "FROM tasks" not in text:
            return [(self.head,)]
        before, self.head = self.head, 6
        return [] if before == 5 else [("{}", str(TASK), str(TASK), 6)]


async def test_an_empty_page_is_not_marked_with_a_position_that_it_has_not_seen() -> None:
    queries: Any = PgQueries(Moving())  # type: ignore[arg-type]

    listed = await queries.tasks(TaskFilter(None))

    assert listed.count == 1 or listed.head == 5
