"""What is checked in under docs/reference/schemas, and the bodies that must stay readable for ever."""

import json
from pathlib import Path

import pytest

from domain.events import EVENTS, read_event
from infra import schemas

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/corpus/events"


def test_the_checked_in_schemas_are_those_of_the_messages() -> None:
    assert schemas.outdated(ROOT / schemas.FOLDER) == []


def test_no_published_schema_is_broken() -> None:
    assert list(schemas.broken(ROOT / schemas.FOLDER / "published")) == []


def test_every_message_was_published() -> None:
    published = {path.stem for path in (ROOT / schemas.FOLDER / "published").glob("*.json")}
    assert published == set(schemas.messages())


def test_a_published_message_that_is_gone_is_found(tmp_path: Path) -> None:
    (tmp_path / "task.vanished.v1.json").write_text("{}")
    assert list(schemas.broken(tmp_path)) == ["task.vanished.v1: was published and is gone"]


def test_a_schema_that_was_not_written_is_found(tmp_path: Path) -> None:
    schemas.write(tmp_path)
    (tmp_path / "reply.v1.json").unlink()
    assert schemas.outdated(tmp_path) == ["reply.v1: no schema is checked in"]


def test_every_event_type_has_a_golden_body() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(EVENTS)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_a_golden_body_is_read_with_nothing_lost(path: Path) -> None:
    body = path.read_bytes()
    again = json.loads(read_event(path.stem, body).body())
    golden = json.loads(body)
    assert {name: again.get(name) for name in golden} == golden
