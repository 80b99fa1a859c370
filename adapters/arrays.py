"""Columns of values as PostgreSQL arrays of one fixed type each, in the binary form.

psycopg derives an array's type from the values: a statement would be prepared anew for every mix of None, small and
large numbers. With these its types never vary.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from struct import Struct
from typing import Any, ClassVar
from uuid import UUID

import orjson
from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEAD = Struct(">iiIii")
_LENGTH = Struct(">i")
_LONG = Struct(">iq")
_NULL = b"\xff\xff\xff\xff"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_NUL, _SHOWN = "\x00", "\N{REPLACEMENT CHARACTER}"


class Column(list[Any]):
    """Values of one column, None among them; `oid` is the type of the elements, `array_oid` that of the array."""

    oid: ClassVar[int]
    array_oid: ClassVar[int]
    cast: ClassVar[str]

    @staticmethod
    def element(value: Any) -> bytes:
        """`value` with its length in front."""
        raise NotImplementedError


class Uuids(Column):
    oid, array_oid, cast = 2950, 2951, "uuid[]"

    @staticmethod
    def element(value: UUID) -> bytes:
        return b"\x00\x00\x00\x10" + value.bytes


class Texts(Column):
    """PostgreSQL has no character NUL: it is stored as U+FFFD."""

    oid, array_oid, cast = 25, 1009, "text[]"

    @staticmethod
    def element(value: str) -> bytes:
        data = (value.replace(_NUL, _SHOWN) if _NUL in value else value).encode()
        return _LENGTH.pack(len(data)) + data


class Bigints(Column):
    oid, array_oid, cast = 20, 1016, "bigint[]"

    @staticmethod
    def element(value: int) -> bytes:
        return _LONG.pack(8, value)


class Booleans(Column):
    oid, array_oid, cast = 16, 1000, "boolean[]"

    @staticmethod
    def element(value: bool) -> bytes:
        return b"\x00\x00\x00\x01\x01" if value else b"\x00\x00\x00\x01\x00"


class Moments(Column):
    """Aware times, of microseconds."""

    oid, array_oid, cast = 1184, 1185, "timestamptz[]"

    @staticmethod
    def element(value: datetime) -> bytes:
        since = value - _EPOCH
        return _LONG.pack(8, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


class Jsons(Column):
    """Objects, stored as jsonb."""

    oid, array_oid, cast = 3802, 3807, "jsonb[]"

    @staticmethod
    def element(value: Any) -> bytes:
        data = b"\x01" + orjson.dumps(value).replace(b"\\u0000", b"\\ufffd")
        return _LENGTH.pack(len(data)) + data


class ColumnDumper(Dumper):
    """Writes any Column."""

    format = Format.BINARY

    def __init__(self, cls: type[Column], context: AdaptContext | None = None) -> None:
        super().__init__(cls, context)
        self.oid = cls.array_oid
        self._element_oid, self._element = cls.oid, cls.element

    def dump(self, obj: Iterable[Any]) -> bytes:
        element: Callable[[Any], bytes] = self._element
        parts = [_NULL if value is None else element(value) for value in obj]
        return _HEAD.pack(1, 1, self._element_oid, len(parts), 1) + b"".join(parts)


COLUMNS: tuple[type[Column], ...] = (Uuids, Texts, Bigints, Booleans, Moments, Jsons)


def register(context: AdaptContext) -> None:
    """Let this connection send columns."""
    for column in COLUMNS:
        context.adapters.register_dumper(column, ColumnDumper)
