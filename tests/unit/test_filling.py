"""Which texts of a task are templates, and what the whole of it becomes."""

from typing import Any

import pytest

from domain.errors import BadTemplate, TemplateMissingField, TemplateTooLarge
from domain.filling import Work, fill, names_read
from domain.retry_spec import Fallback
from domain.specs import INPUT_DEPTH, Container
from domain.templates import Known

DONE = {"x": Known("succeeded", 0, {"rows": 7, "day": "Monday"})}
ROWS, DAY = "{{tasks.x.result.rows}}", "{{tasks.x.result.day}}"


def container(*command: str, **env: str) -> Container:
    return Container(image="busybox", command=command or None, env=env)


def test_command_environment_input_and_fallback_are_filled_and_nothing_else() -> None:
    work = Work(
        container=Container(
            image="busybox", command=("load", ROWS, "{{input.day}}"), env={"N": f"n={ROWS}"}, user="u", result="/r/r"
        ),
        input={"day": DAY, "rows": ROWS, "deep": [{"n": ROWS}, 1, None], ROWS: "a key"},
        fallback=Fallback(image="debian", command=("slowly", "{{input.rows}}")),
    )

    assert names_read(work) == ("x",)
    assert fill(work, DONE) == Work(
        container=Container(
            image="busybox", command=("load", "7", "Monday"), env={"N": "n=7"}, user="u", result="/r/r"
        ),
        input={"day": "Monday", "rows": 7, "deep": [{"n": 7}, 1, None], ROWS: "a key"},
        fallback=Fallback(image="debian", command=("slowly", "7")),
    )


@pytest.mark.parametrize("work", [Work(), Work(container=container("a }} b")), Work(input={"{": {"a": "{ {"}})])
def test_what_has_no_templates_reads_nothing(work: Work) -> None:
    assert names_read(work) is None


def test_templates_of_the_own_input_read_no_task() -> None:
    assert names_read(Work(container=container("{{input.x}}"), input={"x": 1})) == ()


@pytest.mark.parametrize(
    ("work", "field"),
    [
        (Work(container=container("a", "{{b}}")), "container.command[1]"),
        (Work(container=container(DAY="{{b}}")), "container.env.DAY"),
        (Work(input={"a": {"b": [1, "{{b}}"]}}), "input.a.b[1]"),
        (Work(input={"a": "{{input.b}}", "b": 1}), "input.a"),
        (Work(fallback=Fallback(command=("{{b}}",))), "retry.fallback.command[0]"),
    ],
)
def test_what_is_no_template_is_refused_by_the_path_of_its_field(work: Work, field: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        names_read(work)
    assert caught.value.detail.startswith(f"{field}: ")


def test_what_is_missing_is_told_with_its_field() -> None:
    with pytest.raises(TemplateMissingField) as caught:
        fill(Work(container=container("{{tasks.x.result.row}}")), DONE)
    assert caught.value.detail.startswith("container.command[0]: {{tasks.x.result.row}}: ")


def test_values_of_the_input_are_not_filled_twice() -> None:
    known = {"x": Known("succeeded", 0, "{{tasks.x.status}}")}
    work = fill(Work(container=container("{{input.a}}"), input={"a": "{{tasks.x.result}}"}), known)
    assert work == Work(container=container("{{tasks.x.status}}"), input={"a": "{{tasks.x.status}}"})


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else "x"


@pytest.mark.parametrize(
    ("work", "result"),
    [
        (Work(container=container("{{tasks.x.result}}!")), "x" * 65_536),
        (Work(input={"a": "{{tasks.x.result}}", "b": "{{tasks.x.result}}"}), "x" * 33_000),
        (Work(container=container(*["{{tasks.x.result}}"] * 5)), "x" * 60_000),
        (Work(input={"a": "{{tasks.x.result}}"}), nested(INPUT_DEPTH)),
    ],
)
def test_what_would_be_too_large_when_filled_is_not_filled(work: Work, result: Any) -> None:
    with pytest.raises(TemplateTooLarge):
        fill(work, {"x": Known("succeeded", 0, result)})
