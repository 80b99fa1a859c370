"""The shape of a schema: where its references lead, and what it unfolds to. Pure."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

from domain.errors import BadSchema
from domain.messages import Json

UNFOLDED = 2_000
"""Objects that a schema may have once every $ref is replaced by what it refers to."""
UNFOLDED_VALUES = 50_000
"""Values of any kind that it may have then."""
NESTED = 32
"""References that may lead from one to the next."""
PATTERN_BYTES = 512 << 10
"""What one compiled pattern may take: enough for `^.{1,255}$`."""
PATTERN_STEPS = {32 << 10: 1, 128 << 10: 4, PATTERN_BYTES: 16}
"""Steps for a character, by the bytes of the compiled pattern: the worst of that size takes so long."""
NO_PATTERN = 1 << 30
PATTERNS = 128
"""Such steps of all patterns together, wherever they are referred to: what is compiled is kept, and takes memory."""
_NOT_SUPPORTED = frozenset({"$dynamicRef", "$recursiveRef"})
_ONLY_AT_THE_TOP = frozenset({"$id", "$schema"})
_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
"""What holds schemas by name, where no name means anything."""


def check_shape(schema: Mapping[str, Json]) -> None:
    """Raises BadSchema for references elsewhere or in circles, and for what unfolds to too much."""
    _check_words(schema, "input_schema")
    _Unfolding(schema).unfold(schema, (), "input_schema")


@lru_cache(maxsize=1024)
def weight(pattern: str) -> int:
    """How many steps it takes for a character; beyond all measure if it is no pattern."""
    return next((steps for size, steps in PATTERN_STEPS.items() if _fits(pattern, size)), NO_PATTERN)


def _fits(pattern: str, size: int) -> bool:
    from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

    try:
        Draft202012Validator({"pattern": pattern}, pattern_options=RegexOptions(size_limit=size))
    except ValidationError:
        return False
    return True


def _check_words(part: Json, place: str, top: bool = True) -> None:
    """Refuse, wherever they stand, words by which a reference would mean another place than `at` finds."""
    if isinstance(part, dict):
        texts = {name for name, one in cast("dict[str, Any]", part).items() if isinstance(one, str)}
        if used := sorted(texts & (_NOT_SUPPORTED if top else _NOT_SUPPORTED | _ONLY_AT_THE_TOP)):
            raise BadSchema(f"{place}.{used[0]}: not supported here; refer by $ref to a place in this schema")
    for name, one in _inside(part):
        _check_words(one, _inner(place, name), top=False)


class _Unfolding:
    """What a schema becomes when every $ref is replaced by what it refers to, counted."""

    def __init__(self, root: Mapping[str, Json]) -> None:
        self._root, self._objects, self._values, self._patterns = root, 0, 0, 0

    def unfold(self, part: Json, inside: tuple[str, ...], place: str, by_name: bool = False) -> None:
        """Raises BadSchema for too much, and for a bad reference. `by_name`: the part holds schemas by name."""
        self._count(part, place)
        if isinstance(part, dict) and not by_name:
            self._weigh(cast("dict[str, Any]", part), place)
            self._follow(cast("dict[str, Any]", part), inside, place)
        for name, one in _inside(part):
            if by_name or name != "$defs":
                self.unfold(one, inside, _inner(place, name), not by_name and name in _BY_NAME)

    def _count(self, part: Json, place: str) -> None:
        self._values += 1
        self._objects += isinstance(part, dict)
        for count, most, what in (
            (self._objects, UNFOLDED, "objects"),
            (self._values, UNFOLDED_VALUES, "values"),
        ):
            if count > most:
                raise BadSchema(f"{place:.200}: the schema unfolds to more than {most} {what}; say it simpler")

    def _weigh(self, part: Mapping[str, Any], place: str) -> None:
        named = part.get("patternProperties")
        patterns = [part.get("pattern"), *(cast("dict[str, Any]", named) if isinstance(named, dict) else ())]
        weights = (weight(one) for one in patterns if isinstance(one, str))
        self._patterns += sum(one for one in weights if one < NO_PATTERN)
        if self._patterns > PATTERNS:
            raise BadSchema(f"{place:.200}: patterns, and long repeats in them, are too many; have it look at less")

    def _follow(self, part: Mapping[str, Any], inside: tuple[str, ...], place: str) -> None:
        if not isinstance(to := part.get("$ref"), str):
            return
        if len(inside) == NESTED:
            raise BadSchema(f"{place:.200}: more than {NESTED} references lead from one to the next; say it simpler")
        if to in inside:
            raise BadSchema(f"{place}.$ref: {to:.80} leads back to itself; write out as deep as an input may nest")
        self.unfold(at(self._root, to, place), (*inside, to), f"{place}.$ref")


def _inner(place: str, name: str) -> str:
    return f"{place}{name if name.startswith('[') else '.' + name:.80}"


def _inside(part: Json) -> Iterator[tuple[str, Json]]:
    if isinstance(part, dict):
        yield from cast("dict[str, Any]", part).items()
    elif isinstance(part, list):
        yield from ((f"[{n}]", one) for n, one in enumerate(cast("list[object]", part)))


def at(root: Mapping[str, Json], to: str, place: str) -> Json:
    """What stands at a reference. Raises BadSchema."""
    value: Any = root
    if to != "#" and not to.startswith("#/"):
        raise BadSchema(f"{place}.$ref: {to:.80} is not a place in this schema; write #/$defs/NAME")
    for step in to.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, dict) or name not in value:
            raise BadSchema(f"{place}.$ref: there is nothing at {to:.80}; write it into the schema")
        value = cast("dict[str, Any]", value)[name]
    return value
