"""`tally serve all`, as the image does it when it is told nothing else."""

import signal

import pytest

from infra.processes import all as every
from infra.processes.serve import NAMES
from tests.support.platform import BUSYBOX, MakePlatform

pytestmark = pytest.mark.e2e


def test_one_process_may_be_the_whole_platform(make_platform: MakePlatform) -> None:
    with make_platform(("issuer", "all"), TALLY_WORKER__ID="only") as tally:
        tally.publish("task.submit.v1", {"task_id": "one", "container": {"image": BUSYBOX, "command": ["true"]}})
        tally.publish("task.submit.v1", {"task_id": "two", "executor": "noop", "depends_on": [{"task_id": "one"}]})

        assert tally.wait_ended("one", "two") == {"one": "succeeded", "two": "succeeded"}
        tally.wait_caught_up("projector", "relay", "notifier", seconds=30)
        process = tally.system.children["all"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0, tally.system.log("all")


def test_everything_but_the_development_issuer_is_part_of_it() -> None:
    assert {*every.PARTS, "all", "issuer"} == set(NAMES)
