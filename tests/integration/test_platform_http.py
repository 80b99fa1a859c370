"""The client's reads over real HTTP, against a real database."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from adapters.api_session import open_api
from adapters.platform_http import HttpPlatform
from domain.commands import SubmitTask
from domain.errors import Refused
from domain.messages import Cause
from domain.ports.platform import Output
from domain.recorded import new_events
from tests.support.commands import COMMAND, COMMAND_2
from tests.support.database import Database
from tests.support.histories import CAUSE, TASK, WORKER, registered, run_id, whole
from tests.support.http_api import Running, running

pytestmark = pytest.mark.integration
ID = str(TASK)


@dataclass(frozen=True, slots=True)
class Admin:
    """Tokens that may do everything."""

    api: Running

    async def token(self, renewed: bool = False) -> str | None:
        return self.api.issuer.token("admin")


@dataclass(frozen=True, slots=True)
class Place:
    """A client, the API that it talks to, and how far the log goes."""

    client: HttpPlatform
    api: Running
    there: int


@asynccontextmanager
async def reading(api: Running, there: int) -> AsyncGenerator[Place]:
    async with open_api(api.url, Admin(api)) as session:
        yield Place(HttpPlatform(session), api, there)


@pytest_asyncio.fixture
async def place(pg: Database, tmp_path: Path) -> AsyncGenerator[Place]:
    """One task that succeeded, one worker."""
    async with running(pg, tmp_path / "issuer") as api:
        there = await api.append(*whole(), *new_events(WORKER, 0, "_", [registered()], CAUSE))
        await api.name(TASK, "T1")
        api.printed.streams[run_id(), "stdout"] = (b"one\ntwo\n", True)
        api.printed.streams[run_id(), "stderr"] = (b"", True)
        async with reading(api, there) as place:
            yield place


async def test_a_task_is_read_by_its_id_and_by_its_name_as_of_a_position(place: Place) -> None:
    by_id = await place.client.task(ID, "default", after=place.there)
    by_name = await place.client.task("T1", "default", wait=timedelta(seconds=5))

    assert (by_id["id"], by_id["status"], by_id["name"]) == (ID, "succeeded", "nightly")
    assert by_name["id"] == ID


async def test_what_is_not_there_is_refused(place: Place) -> None:
    for read in (
        place.client.task,
        place.client.task_events,
        place.client.runs,
        place.client.workflow,
        place.client.explain,
    ):
        with pytest.raises(Refused) as caught:
            await read("nobody", "default")
        assert caught.value.problem.code == "not-found"


async def test_why_a_task_stands_as_it_does_is_read_as_of_a_position(place: Place) -> None:
    said = await place.client.explain("T1", "default", after=place.there)

    assert (said["id"], [one["code"] for one in said["causes"]]) == (ID, ["succeeded"])


async def test_events_and_runs_of_a_task_come_in_order(place: Place) -> None:
    await place.client.task(ID, "default", after=place.there)

    events = await place.client.task_events(ID, "default", after_version=2, wait=timedelta(seconds=5))
    runs = await place.client.runs(ID, "default")

    assert [event["version"] for event in events] == [3, 4, 5, 6]
    assert [(run["id"], run["status"]) for run in runs] == [(str(run_id()), "succeeded")]


async def test_the_log_is_read_by_type_and_namespace(place: Place) -> None:
    await place.client.task(ID, "default", after=place.there)

    everything = await place.client.events(None, 0, (), 1000)
    ends = await place.client.events("default", 0, ["task.succeeded.v1", "task.failed.v1"], 10)

    assert [event["position"] for event in everything] == list(range(1, place.there + 1))
    assert [event["type"] for event in ends] == ["task.succeeded.v1"]


async def test_tasks_workers_and_projections_are_listed(place: Place) -> None:
    await place.client.task(ID, "default", after=place.there)

    tasks = await place.client.tasks("default", {"status": "succeeded", "label.team": "data"}, 10)
    assert [task["id"] for task in tasks] == [ID]
    assert await place.client.tasks(None, {"status": "failed"}, 10) == []
    assert [worker["worker_id"] for worker in await place.client.workers()] == ["W1"]
    assert "projector" in {row["name"] for row in await place.client.projections()}


async def test_output_is_read_whole_by_its_last_lines_or_as_it_comes(place: Place) -> None:
    await place.client.task(ID, "default", after=place.there)
    run = str(run_id())

    assert [part async for part in place.client.output(run, follow=False)] == [Output("stdout", b"one\ntwo\n")]
    assert [part async for part in place.client.output(run, follow=False, tail=1)] == [Output("stdout", b"two\n")]
    followed = [part async for part in place.client.output(run, follow=True)]
    assert b"".join(part.data for part in followed) == b"one\ntwo\n"


async def test_output_that_is_no_text_comes_as_it_was_printed(place: Place) -> None:
    await place.client.task(ID, "default", after=place.there)
    printed = b"\xff\x00\r\ngr\xc3\xbc\xc3"
    place.api.printed.streams[run_id(), "stdout"] = (printed, True)

    for follow in (False, True):
        parts = [part async for part in place.client.output(str(run_id()), follow)]
        assert b"".join(part.data for part in parts) == printed


async def test_a_command_is_posted_and_what_is_not_known_of_it_yet_is_none(place: Place) -> None:
    command = SubmitTask(task_id="T2", executor="noop")

    assert await place.client.send(command, COMMAND, Cause("c", "c", "a"), answer=False) is None
    assert await place.client.outcome(COMMAND, timedelta(0)) is None
    assert await place.client.outcome(COMMAND_2, timedelta(0)) is None

    [sent] = place.api.broker.published
    assert (sent.id, sent.type, sent.headers["ce-authid"]) == (COMMAND, "task.submit.v1", "admin")
