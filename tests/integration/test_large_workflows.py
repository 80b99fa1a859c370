"""A workflow of 10,000 tasks in ten messages, on real servers: accepted, run, shown, complete."""

import time
from collections.abc import Iterator

import pytest

from api.splitting import messages
from domain import events as e
from domain.specs import DependsOn, TaskSpec
from tests.support.platform import MakePlatform, Platform
from tests.support.waiting import until

pytestmark = pytest.mark.integration
SIZE, WIDTH = 10_000, 1000


@pytest.fixture(scope="module")
def running(make_platform: MakePlatform) -> Iterator[Platform]:
    """All that runs tasks of executor noop."""
    with make_platform(
        ["handler", "conductor", "relay", "messenger", "projector", "worker"], TALLY_WORKER__SLOTS="512"
    ) as platform:
        yield platform


def test_a_workflow_of_ten_thousand_tasks_is_accepted_and_resolves(running: Platform) -> None:
    tasks = [
        TaskSpec(
            task_id=f"big.{n}",
            executor="noop",
            depends_on=(DependsOn(task_id=f"big.{n - WIDTH}"),) if n >= WIDTH else (),
        )
        for n in range(SIZE)
    ]
    began = time.monotonic()

    for part in messages("big", "default", tasks):
        reply = running.ask(part.TYPE, part.model_dump(mode="json", exclude_none=True))
        assert reply["outcome"] == "accepted", reply
    accepted = time.monotonic()
    finished = "SELECT state FROM events WHERE topic = 'workflow.finished.v1'"
    until(lambda: bool(running.rows(finished)), "the end of the workflow", 180)
    resolved = time.monotonic()

    ((state,),) = running.rows(finished)
    assert e.WorkflowFinished.model_validate_json(bytes(state)) == e.WorkflowFinished(workflow_id="big", succeeded=SIZE)
    parts = "SELECT count(*), max(originator_version) FROM events WHERE starts_with(topic, 'workflow.')"
    assert running.rows(parts) == [(11, 11)]
    assert running.rows("SELECT count(*) FROM conductor_members") == [(0,)]
    print(f"accepted in {accepted - began:.1f} s, resolved in {resolved - began:.1f} s")
