"""The JSON Schema (draft 2020-12) of a task type's input. Pure.

A schema refers only to itself, and not in circles: what it unfolds to is bounded, and with it the time that one
input takes. Patterns are matched in time linear in the text.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from domain.errors import BadInput, BadSchema
from domain.messages import Json, compact, field_path
from domain.templates import OPEN

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

SCHEMA_LIMIT = 64 << 10
"""Bytes of a schema as compact JSON."""
UNFOLDED = 2_000
"""Objects that a schema may have once every $ref is replaced by what it refers to."""
NESTED = 32
"""References that may lead from one to the next."""
PATTERN_BYTES = 1 << 20
"""What one compiled pattern may take."""
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCES = frozenset({"$dynamicRef", "$recursiveRef"})
_UNDECIDED = frozenset({"anyOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"})
_CERTAIN = frozenset({"required", "additionalProperties"})


def check_schema(schema: Mapping[str, Json]) -> None:
    """Raises BadSchema, with the place in the schema."""
    if len(text := compact(schema)) > SCHEMA_LIMIT or len(text.encode()) > SCHEMA_LIMIT:
        raise BadSchema(f"input_schema: more than {SCHEMA_LIMIT} bytes of JSON; say it shorter")
    if schema.get("$schema", DRAFT) not in (DRAFT, f"{DRAFT}#"):
        raise BadSchema(f"input_schema.$schema: {DRAFT} is what is understood; name that, or leave it out")
    _unfold(schema, schema, (), "input_schema", 0)
    from jsonschema_rs import ValidationError

    try:
        validator = _validator(text)
    except ValidationError as error:
        raise BadSchema(f"{_place('input_schema', error)}: {error.message:.300}; see {DRAFT}") from None
    for name, default in defaults(schema).items():
        if not validator.is_valid({name: default}) and (problem := _about(validator, {name: default}, name)):
            raise BadSchema(f"input_schema.properties.{name}.default: {problem:.300}; give one that it allows")


def defaults(schema: Mapping[str, Json]) -> dict[str, Json]:
    """What stands for the fields that an input leaves out."""
    properties = cast("dict[str, Any]", schema.get("properties", {}))
    return {name: one["default"] for name, one in properties.items() if isinstance(one, dict) and "default" in one}


def check_input(schema: Mapping[str, Json], given: Mapping[str, Json], task_type: str, filled: bool = True) -> None:
    """Raises BadInput for the first thing that is wrong; if it is not `filled`, that no template may yet mend."""
    validator = _validator(compact(schema))
    if validator.is_valid(given):
        return
    for error in validator.iter_errors(given):
        if filled or not _open(error, given):
            fields = ", ".join(map(str, cast("dict[str, Any]", schema.get("properties", {})))) or "no fields by name"
            raise BadInput(
                f"{_place('input', error)}: {error.message:.300}; change it to fit task type {task_type}, "
                f"which takes {fields:.200}"
            )


@lru_cache(maxsize=256)
def _validator(schema: str) -> "Draft202012Validator":
    import json

    from jsonschema_rs import Draft202012Validator, RegexOptions

    options = RegexOptions(size_limit=PATTERN_BYTES)
    return Draft202012Validator(json.loads(schema), offline=True, validate_formats=True, pattern_options=options)


def _place(root: str, error: "ValidationError") -> str:
    path: list[str | int] = [root, *error.instance_path]
    found = error.kind.as_dict()
    if error.kind.name == "required":
        path.append(str(found["property"]))
    elif error.kind.name in ("additionalProperties", "unevaluatedProperties"):
        path.append(str(found["unexpected"][0]))
    return field_path(tuple(path))


def _about(validator: "Draft202012Validator", given: Json, name: str) -> str | None:
    errors = (error for error in validator.iter_errors(given) if [*error.instance_path][:1] == [name])
    return next((error.message for error in errors), None)


def _open(error: "ValidationError", given: Json) -> bool:
    """Whether a template may yet mend it."""
    value = given
    for step in error.instance_path:
        value = value[step]
    if OPEN not in compact(value):
        return False
    return error.kind.name not in _CERTAIN or not _UNDECIDED.isdisjoint(map(str, error.schema_path))


def _unfold(root: Mapping[str, Json], part: Json, inside: tuple[str, ...], place: str, count: int) -> int:
    """How many objects there are, with those before it: raises BadSchema for too many, and for a bad reference."""
    if isinstance(part, dict):
        count += 1
        if count > UNFOLDED:
            raise BadSchema(f"{place}: the schema unfolds to more than {UNFOLDED} objects; say it simpler")
        named = cast("dict[str, Any]", part)
        texts = {name for name, one in named.items() if isinstance(one, str)}
        if used := sorted(texts & (_REFERENCES if part is root else _REFERENCES | {"$id"})):
            raise BadSchema(f"{place}.{used[0]}: not supported; refer by $ref to a place in this schema")
        if isinstance(to := named.get("$ref"), str):
            if len(inside) == NESTED:
                raise BadSchema(
                    f"{place:.200}: more than {NESTED} references lead from one to the next; say it simpler"
                )
            if to in inside:
                raise BadSchema(f"{place}.$ref: {to:.80} leads back to itself; write out as deep as an input may nest")
            count = _unfold(root, _at(root, to, place), (*inside, to), f"{place}.$ref", count)
    for name, one in _inside(part):
        if name != "$defs":
            count = _unfold(root, one, inside, f"{place}{name if name.startswith('[') else '.' + name:.80}", count)
    return count


def _inside(part: Json) -> Iterator[tuple[str, Json]]:
    if isinstance(part, dict):
        yield from cast("dict[str, Any]", part).items()
    elif isinstance(part, list):
        yield from ((f"[{n}]", one) for n, one in enumerate(cast("list[object]", part)))


def _at(root: Mapping[str, Json], to: str, place: str) -> Json:
    value: Any = root
    if to != "#" and not to.startswith("#/"):
        raise BadSchema(f"{place}.$ref: {to:.80} is not a place in this schema; write #/$defs/NAME")
    for step in to.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, dict) or name not in value:
            raise BadSchema(f"{place}.$ref: there is nothing at {to:.80}; write it into the schema")
        value = cast("dict[str, Any]", value)[name]
    return value
