"""How much there is to do to hold an input against its schema, counted before it is done. Pure.

It stands on what `domain.schema_shape` lets pass: references lead to a place in the schema itself, and not in circles.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from domain.messages import Json

_ALL_OF_THEM = frozenset({"allOf", "anyOf", "oneOf"})
_SAME_VALUE = frozenset({"not", "if", "then", "else"})
_OF_EACH_FIELD = frozenset({"additionalProperties", "unevaluatedProperties"})
_OF_EACH_ITEM = frozenset({"items", "contains", "unevaluatedItems"})
_ONCE_MORE = frozenset({"unevaluatedProperties", "unevaluatedItems"})


@dataclass(frozen=True, slots=True)
class Weighing:
    """`at`: what stands at a reference. `pattern`: how many steps a pattern takes for a character."""

    at: Callable[[str], Json]
    pattern: Callable[[str], int]


class _Enough(Exception):
    """More steps than are counted."""


def steps(schema: Mapping[str, Json], given: Json, weighing: Weighing, most: int) -> int:
    """How many times a part of `schema` meets a value, an entry of an enum one, or a pattern a character; more than
    `most` count as one more."""
    count = _Count(weighing, most)
    try:
        count.meet(schema, given)
    except _Enough:
        return most + 1
    return count.steps


class _Count:
    def __init__(self, weighing: Weighing, most: int) -> None:
        self.steps, self._weighing, self._most = 0, weighing, most
        self._enums: dict[int, int] = {}

    def meet(self, schema: Json, value: Json) -> None:
        """Count what one schema does with one value. Raises _Enough."""
        self._spend(1)
        if isinstance(schema, dict):
            parts = cast("dict[str, Any]", schema)
            self._parts(parts, value)
            if not _ONCE_MORE.isdisjoint(parts):  # what was evaluated is found out by evaluating it
                self._parts(parts, value)

    def _spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > self._most:
            raise _Enough

    def _parts(self, parts: Mapping[str, Any], value: Json) -> None:
        for keyword, part in parts.items():
            if keyword == "$ref":
                self.meet(self._weighing.at(part), value)
            elif keyword in _ALL_OF_THEM:
                self._meet_all(part, value)
            elif keyword in _SAME_VALUE:
                self.meet(part, value)
            elif keyword == "dependentSchemas":
                self._meet_all(part.values(), value)
            elif keyword == "enum":
                self._spend(self._enum(part))
            elif isinstance(value, str) and keyword == "pattern":
                self._spend(self._weighing.pattern(part) * len(value))
            else:
                self._inside(keyword, part, value)

    def _enum(self, entries: list[Json]) -> int:
        """Texts, or whole numbers, alone are looked up; others are compared one by one."""
        if id(entries) not in self._enums:
            self._enums[id(entries)] = 1 if {type(one) for one in entries} in ({str}, {int}) else len(entries)
        return self._enums[id(entries)]

    def _meet_all(self, schemas: Any, value: Json) -> None:
        for schema in schemas:
            self.meet(schema, value)

    def _inside(self, keyword: str, part: Any, value: Json) -> None:
        match value:
            case dict():
                self._fields(keyword, part, cast("dict[str, Any]", value))
            case list():
                self._items(keyword, part, cast("list[object]", value))
            case _:
                pass

    def _fields(self, keyword: str, part: Any, fields: Mapping[str, Json]) -> None:
        if keyword == "properties":
            for name in part.keys() & fields.keys():
                self.meet(part[name], fields[name])
        elif keyword == "patternProperties":
            for pattern, schema in part.items():
                self._spend(self._weighing.pattern(pattern) * sum(map(len, fields)))
                for one in fields.values():
                    self.meet(schema, one)
        elif keyword == "propertyNames":
            for name in fields:
                self.meet(part, name)
        elif keyword in _OF_EACH_FIELD:
            for one in fields.values():
                self.meet(part, one)

    def _items(self, keyword: str, part: Any, items: list[object]) -> None:
        if keyword == "prefixItems":
            for schema, one in zip(part, items, strict=False):
                self.meet(schema, one)
        elif keyword in _OF_EACH_ITEM:
            for one in items:
                self.meet(part, one)
        elif keyword == "uniqueItems":
            self._spend(len(items))
