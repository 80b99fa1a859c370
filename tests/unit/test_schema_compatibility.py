"""Which changes of a published schema are refused."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model

from infra.schema_compatibility import Direction, compatible


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


def body(**fields: Any) -> dict[str, Any]:
    return create_model("Body", __base__=Closed, **fields).model_json_schema()


class Part(Closed):
    name: str


class WiderPart(Part):
    note: str | None = None


class StricterPart(Part):
    note: str


OLD = body(a=(str, ...), b=(int | None, None))


@pytest.mark.parametrize("direction", ["read", "write", "both"])
def test_an_unchanged_schema_is_compatible(direction: Direction) -> None:
    assert compatible(OLD, OLD, direction) == []


@pytest.mark.parametrize("direction", ["read", "write", "both"])
def test_an_added_optional_field_is_compatible(direction: Direction) -> None:
    assert compatible(OLD, body(a=(str, ...), b=(int | None, None), c=(str | None, None)), direction) == []


@pytest.mark.parametrize("direction", ["read", "write", "both"])
def test_a_removed_field_is_refused(direction: Direction) -> None:
    assert compatible(OLD, body(a=(str, ...)), direction) == [".b: was removed"]


def test_a_new_required_field_is_refused_where_old_bodies_are_read() -> None:
    new = body(a=(str, ...), b=(int | None, None), c=(str, ...))
    assert compatible(OLD, new, "read") == [".c: is newly required"]
    assert compatible(OLD, new, "write") == []


def test_a_field_that_may_newly_be_missing_is_refused_where_subscribers_rely_on_it() -> None:
    new = body(a=(str, "x"), b=(int | None, None))
    assert compatible(OLD, new, "write") == [".a: no longer always there"]
    assert compatible(OLD, new, "read") == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ((str, ...), (int, ...), ".f: type string narrowed to type integer"),
        ((float, ...), (int, ...), ".f: type number narrowed to type integer"),
        ((int | None, None), (int, 0), ".f: type null narrowed to type integer"),
        ((Literal["a", "b"], ...), (Literal["a"], ...), ".f: values narrowed to ['a']"),
        ((str, ...), (Annotated[str, Field(pattern="^a$")], ...), ".f: pattern narrowed from any to ^a$"),
        ((str, ...), (Annotated[str, Field(max_length=3)], ...), ".f: maxLength narrowed from none to 3"),
        ((Annotated[int, Field(ge=1)], 1), (Annotated[int, Field(ge=2)], 2), ".f: minimum narrowed from 1 to 2"),
        ((list[str], ...), (list[int], ...), ".f[]: type string narrowed to type integer"),
        ((dict[str, str], ...), (dict[str, int], ...), ".f.*: type string narrowed to type integer"),
        ((Part, ...), (StricterPart, ...), ".f.note: is newly required"),
        ((Part | None, None), (StricterPart | None, None), ".f.note: is newly required"),
        ((Any, ...), (str, ...), ".f: type any narrowed to type string"),
    ],
)  # fmt: skip
def test_what_narrows_a_field_is_refused_where_old_bodies_are_read(old: Any, new: Any, reason: str) -> None:
    assert reason in compatible(body(f=old), body(f=new), "read")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((int, ...), (float, ...)),
        ((int, ...), (int | str, ...)),
        ((Literal["a"], ...), (Literal["a", "b"], ...)),
        ((Annotated[str, Field(pattern="^a$")], ...), (str, ...)),
        ((Annotated[str, Field(max_length=3)], ...), (Annotated[str, Field(max_length=4)], ...)),
        ((tuple[Part, ...], ()), (tuple[WiderPart, ...], ())),
        ((dict[str, int], dict[str, int]()), (dict[str, float], dict[str, float]())),
    ],
)
def test_what_widens_a_field_is_compatible_where_old_bodies_are_read(old: Any, new: Any) -> None:
    assert compatible(body(f=old), body(f=new), "read") == []


def test_a_widened_type_is_refused_where_subscribers_rely_on_it() -> None:
    assert compatible(body(f=(int, ...)), body(f=(int | str, ...)), "both") == [".f: type integer became type string"]


def test_a_new_word_of_an_enumeration_is_compatible_for_subscribers() -> None:
    assert compatible(body(f=(Literal["a"], ...)), body(f=(Literal["a", "b"], ...)), "both") == []


def test_newly_refusing_unknown_fields_is_refused() -> None:
    assert compatible(OLD | {"additionalProperties": True}, OLD, "read") == [".: unknown fields are newly refused"]


def test_a_change_that_is_not_understood_is_refused() -> None:
    assert compatible(OLD, OLD | {"not": {}}, "read") == [".: not changed, which is not understood here"]
