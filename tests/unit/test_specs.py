"""What a task may be described as, and what its end is called."""

from typing import Any

import pytest
from pydantic import ValidationError

from domain.errors import BadInput, UnknownTaskType
from domain.messages import Message, by_type, is_uuid
from domain.reports import RunError, RunFinish
from domain.retrying import reason_of
from domain.specs import Container, TaskSpec, memory_bytes
from domain.task_type import Typed, Types, typed
from tests.support.commands import COMMAND
from tests.support.task_states import DONE

BUSYBOX = {"image": "busybox"}


@pytest.mark.parametrize(
    ("quantity", "expected"), [("6291456", 6 << 20), ("6144Ki", 6 << 20), ("512Mi", 512 << 20), ("4096Gi", 4 << 40)]
)
def test_memory_is_counted_in_powers_of_1024(quantity: str, expected: int) -> None:
    assert memory_bytes(quantity) == expected
    assert Container(image="busybox", memory=quantity).memory == quantity


@pytest.mark.parametrize("quantity", ["6143Ki", "5Mi", "4097Gi", "512M", "0", "-1", "1.5Gi"])
def test_memory_outside_its_bounds_or_in_another_unit_is_refused(quantity: str) -> None:
    with pytest.raises(ValidationError, match="memory"):
        Container(image="busybox", memory=quantity)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, "either container or task_type"),
        ({"container": BUSYBOX, "task_type": "sleep"}, "either container or task_type"),
        ({"executor": "noop", "container": BUSYBOX}, "noop runs nothing"),
        ({"executor": "noop", "task_type": "sleep"}, "noop runs nothing"),
    ],
)
def test_a_task_runs_exactly_one_thing(spec: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TaskSpec.model_validate(spec)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "input.seconds"),
        ({"seconds": True}, "input.seconds"),
        ({"seconds": -1}, "input.seconds"),
        ({"seconds": 86_401}, "input.seconds"),
        ({"seconds": "1"}, "input.seconds"),
        ({"seconds": 1, "message": 7}, "input.message"),
        ({"seconds": 1, "colour": "red"}, "input.colour"),
    ],
)
def test_input_that_does_not_fit_its_type_is_refused_by_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput, match=field):
        typed(TaskSpec(task_type="sleep", input=given), Types("base"))


def test_a_type_that_is_not_registered_is_refused_with_those_that_are() -> None:
    with pytest.raises(UnknownTaskType, match="built in: shell, sleep"):
        typed(TaskSpec(task_type="bake"), Types("base"))


def test_a_task_of_its_own_container_runs_that() -> None:
    for spec in (TaskSpec(container=Container(image="busybox")), TaskSpec(executor="noop")):
        assert typed(spec, Types("base")) == Typed(spec)


@pytest.mark.parametrize(
    ("changes", "timed_out", "expected"),
    [
        ({}, False, None),
        ({"exit_code": None, "container_id": None}, False, None),
        ({"exit_code": 3}, False, "exit-nonzero"),
        ({"exit_code": 137, "oom_killed": True}, False, "oom"),
        ({"exit_code": 0, "oom_killed": True}, False, None),
        ({"exit_code": None, "oom_killed": True}, False, "oom"),
        ({"exit_code": None}, False, "unknown-outcome"),
        ({"exit_code": 3, "error": RunError(code="result-too-large")}, False, "result-too-large"),
        ({"exit_code": 0}, True, "timeout"),
        ({"exit_code": 137, "oom_killed": True, "error": RunError(code="lost")}, True, "timeout"),
    ],
)
def test_the_end_of_a_run_has_one_reason(changes: dict[str, Any], timed_out: bool, expected: str | None) -> None:
    finish: RunFinish = DONE.model_copy(update=changes)

    assert reason_of(finish, timed_out) == expected


def test_two_messages_of_one_type_are_a_defect() -> None:
    class One(Message):
        TYPE = "one.v1"

    class Another(Message):
        TYPE = "one.v1"

    with pytest.raises(ValueError, match=r"one\.v1 names both One and Another"):
        by_type([One, Another])


@pytest.mark.parametrize("text", ["hello", "x" * 36, str(COMMAND).replace("-", "")])
def test_only_the_canonical_form_is_taken_for_an_id(text: str) -> None:
    assert is_uuid(text) is None
    assert is_uuid(str(COMMAND)) == COMMAND


def nested(levels: int) -> Any:
    return {"x": nested(levels - 1)} if levels else "x"


@pytest.mark.parametrize("runs", [{"container": BUSYBOX}, {"executor": "noop"}, {"task_type": "sleep"}])
def test_any_task_takes_an_input(runs: dict[str, Any]) -> None:
    given = {"day": "Monday", "rows": [1, None]}
    assert TaskSpec.model_validate({**runs, "input": given}).input == given


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"x": "é" * 32_768}, "more than 65536 bytes of JSON; pass large data by reference"),
        (nested(11), "nests deeper than 10 levels"),
    ],
)
def test_an_input_is_small_and_flat(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TaskSpec(executor="noop", input=given)


@pytest.mark.parametrize("given", [{"x": "é" * 32_764}, nested(10)])
def test_an_input_up_to_the_limits_is_taken(given: dict[str, Any]) -> None:
    assert TaskSpec(executor="noop", input=given).input == given


@pytest.mark.parametrize(
    "files",
    [
        {"result": "/tally/x.json", "artifacts": "/tally/x.json"},
        {"result": "/tally/input.json"},
        {"artifacts": "/tally/input.json"},
        {"artifacts": "artifacts.json"},
    ],
)
def test_what_a_container_leaves_lies_in_files_of_its_own(files: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Container.model_validate({"image": "busybox", **files})
