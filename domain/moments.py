"""Times that users give."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([.]\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


def _rfc_3339(given: object) -> object:
    if isinstance(given, str) and RFC_3339.fullmatch(given.upper()):
        return datetime.fromisoformat(given.upper())
    if isinstance(given, datetime):
        return given
    raise ValueError("give a time with its offset, such as 2026-11-21T03:12:40Z or 2026-11-21T04:12:40+01:00")


def _in_utc(given: datetime) -> datetime:
    if not EARLIEST <= given <= LATEST:
        raise ValueError("give a time from 1970 to 9000")
    return given.astimezone(UTC)


Moment = Annotated[AwareDatetime, BeforeValidator(_rfc_3339), AfterValidator(_in_utc)]
"""A time with its offset (RFC 3339), kept as UTC."""
