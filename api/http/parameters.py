"""Query parameters, as OpenAPI describes them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Query
from pydantic import AfterValidator, BeforeValidator, Field

from domain.errors import BadQuery
from domain.messages import Namespace

DECIMAL = re.compile(r"[0-9]{1,19}")
WITH_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:")
YEARS = range(1971, 9999)
LONGEST_WAIT = timedelta(minutes=1)


def _decimal(value: Any) -> Any:
    if isinstance(value, str) and not DECIMAL.fullmatch(value):
        raise ValueError("write it in digits 0 to 9")
    return value


def _written_out(value: Any) -> Any:
    if isinstance(value, str) and not WITH_TIME.match(value):
        raise ValueError("write it as 2026-11-20T02:00:00Z")
    return value


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("say the time zone, such as Z")
    if value.year not in YEARS:
        raise ValueError(f"say a year from {YEARS[0]} to {YEARS[-1]}")
    return value.astimezone(UTC)


Whole = Annotated[int, BeforeValidator(_decimal), Field(ge=0, le=2**63 - 1)]
Time = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_utc)]


def _not_negative(value: timedelta | None) -> timedelta | None:
    if value is not None and value < timedelta(0):
        raise ValueError("it cannot be negative")
    return value


InNamespace = Annotated[
    Namespace | None, Query(description="Only this namespace; needed with a name unless the token has but one")
]
Wait = Annotated[
    timedelta | None,
    Query(description="Wait for news, at most this long and PT1M", examples=["PT30S"]),
    AfterValidator(_not_negative),
]
AfterPosition = Annotated[
    Whole | None, Query(description="Answer only from views that have got here; else 503 with Retry-After")
]
Types = Annotated[list[str], Field(description="Event types, repeated or with commas between", max_length=50)]
Word = Annotated[str, Field(max_length=256)]
Cursor = Annotated[str | None, Query(description="From Link: rel=next", max_length=512)]


def words(values: list[str]) -> tuple[str, ...]:
    """What a repeatable parameter lists, commas too."""
    return tuple(word for value in values for word in value.split(",") if word)


def labels(values: list[str]) -> dict[str, str | None]:
    """`team=data` or `team`, which any value fits. Raises BadQuery."""
    found: dict[str, str | None] = {}
    for word in values:
        name, equals, value = word.partition("=")
        if not name:
            raise BadQuery("label: give name=value, or name alone")
        found[name] = value if equals else None
    return found
