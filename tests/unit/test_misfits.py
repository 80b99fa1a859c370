"""What is said of fields that do not fit is said in the words of those who wrote them."""

import json
import re
from typing import Any

import pytest
from pydantic import BaseModel

from consumers.finishing import read_artifacts, read_result
from consumers.reading import decode, read
from domain.commands import COMMANDS
from domain.errors import CannotRun, Rejected
from domain.misfits import PATTERNS
from domain.reports import Artifact
from tests.unit.test_reading import delivered


def patterns(message: type[BaseModel]) -> set[str]:
    schema = json.dumps(message.model_json_schema())
    return {json.loads(found) for found in re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', schema)}


def test_every_pattern_that_users_meet_is_told_in_words() -> None:
    met: list[type[BaseModel]] = [*COMMANDS.values(), Artifact]

    assert set[str]().union(*map(patterns, met)) == set(PATTERNS)


EMPTY: list[str] = []


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"name": "a\u202eb"}, {"name": "1 to 128 characters are needed, none of them a control character"}),
        ({"timeouts": {"run": "10s"}}, {"timeouts.run": "give a span as ISO 8601 has it, such as PT10S"}),
        ({"timeouts": {"run": 10}}, {"timeouts.run": "give a span as ISO 8601 has it, such as PT10S"}),
        ({"depends_on": [{"at_least": 1, "of": EMPTY}]}, {"depends_on[0].of": "give at least 1"}),
        ({"notify": ["a"] * 17}, {"notify": "give at most 16"}),
        ({"retry": {"on": ["whatever"]}}, {"retry.on[0]": "give exit-nonzero, one exit code as exit:3"}),
        ({"retry": {"on": EMPTY}}, {"retry.on": "give at least 1"}),
    ],
)
def test_a_field_that_does_not_fit_is_told_once_with_what_to_give(
    fields: dict[str, Any], errors: dict[str, str]
) -> None:
    body = json.dumps({"executor": "noop", **fields}).encode()

    with pytest.raises(Rejected) as caught:
        decode(read(delivered(body, type="task.submit.v1")), COMMANDS)

    told = {one["field"]: one["problem"] for one in caught.value.errors}
    assert list(told) == list(errors)
    assert all(told[field].startswith(problem) for field, problem in errors.items())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[" * 5000 + b"]" * 5000, "result: it nests deeper than 11 levels; flatten it"),
        (b"[" * 12 + b"]" * 12, "result: it nests deeper than 11 levels; flatten it"),
        (b'"\xe9"', "result: byte 1 is not UTF-8; write UTF-8"),
    ],
)
def test_a_result_that_cannot_be_kept_is_told_of_in_words_of_json(data: bytes, says: str) -> None:
    with pytest.raises(CannotRun) as caught:
        read_result(data)

    assert caught.value.detail == says


def test_a_result_of_11_levels_is_kept() -> None:
    assert read_result(b"[" * 11 + b"]" * 11) is not None


def test_an_artifact_with_a_field_too_many_is_told_by_its_name() -> None:
    listed = [{"name": "a", "uri": "s3://b/a", "sha256": "0" * 64, "bytes": 1, "colour": "red"}]

    with pytest.raises(CannotRun) as caught:
        read_artifacts(json.dumps(listed).encode())

    assert caught.value.detail == "artifacts: [0].colour: no such field"
