"""The JSON Schema (draft 2020-12) of a task type's input. Pure.

A schema refers only to itself, and not in circles: what it unfolds to is bounded. What an input would have to be held
against is counted first, and refused if it takes long: others wait meanwhile. Patterns take time linear in the text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from domain.errors import BadInput, BadSchema, TooLarge
from domain.input_steps import Weighing, steps
from domain.messages import Json, compact, field_path
from domain.schema_shape import PATTERN_BYTES, at, check_shape, weight
from domain.templates import OPEN

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

SCHEMA_LIMIT = 64 << 10
"""Bytes of a schema as compact JSON."""
MOST_STEPS = 200_000
"""Steps that an input may take: less than a second, also with the worst of patterns."""
MOST_TOGETHER = 1_000_000
"""Steps that the inputs of all tasks of one command may take."""
TOLD_STEPS = 20_000
"""Steps up to which it is looked for what exactly is wrong: each may be an error, of some kilobytes."""
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_UNDECIDED = frozenset({"anyOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"})
_CERTAIN = frozenset({"required", "additionalProperties"})


@dataclass(slots=True)
class Effort:
    """The steps that the inputs of one command have left."""

    left: int = MOST_TOGETHER


def check_schema(schema: Mapping[str, Json]) -> None:
    """Raises BadSchema, with the place in the schema."""
    if len(text := compact(schema)) > SCHEMA_LIMIT or len(text.encode()) > SCHEMA_LIMIT:
        raise BadSchema(f"input_schema: more than {SCHEMA_LIMIT} bytes of JSON; say it shorter")
    if schema.get("$schema", DRAFT) not in (DRAFT, f"{DRAFT}#"):
        raise BadSchema(f"input_schema.$schema: {DRAFT} is what is understood; name that, or leave it out")
    check_shape(schema)
    from jsonschema_rs import ValidationError

    try:
        validator = _validator(text)
    except ValidationError as error:
        raise BadSchema(f"{_place('input_schema', error)}: {error.message:.300}; see {DRAFT}") from None
    for name, default in defaults(schema).items():
        if problem := _about(schema, validator, name, default):
            raise BadSchema(f"input_schema.properties.{name}.default: {problem:.300}; give one that it allows")


def defaults(schema: Mapping[str, Json]) -> dict[str, Json]:
    """What stands for the fields that an input leaves out."""
    properties = cast("dict[str, Any]", schema.get("properties", {}))
    return {name: one["default"] for name, one in properties.items() if isinstance(one, dict) and "default" in one}


def check_input(
    schema: Mapping[str, Json],
    given: Mapping[str, Json],
    task_type: str,
    filled: bool = True,
    effort: Effort | None = None,
) -> None:
    """Raises BadInput for the first thing that is wrong; if it is not `filled`, that no template may yet mend; TooLarge
    when the inputs before this one have taken all of `effort`."""
    if effort is not None and effort.left <= 0:
        raise TooLarge(
            f"input: to hold the inputs of this message against their types takes more than {MOST_TOGETHER} steps; "
            "send its tasks in several messages, or have the schemas say less"
        )
    count = _steps(schema, given)
    if effort is not None:
        effort.left -= count
    if count > MOST_STEPS:
        raise BadInput(
            f"input: to hold it against the schema of task type {task_type} takes more than {MOST_STEPS} steps; "
            "pass large data by reference, or have the schema say less"
        )
    validator = _validator(compact(schema))
    if validator.is_valid(given):
        return
    if count > TOLD_STEPS:
        if filled:
            raise BadInput(f"input: it does not fit task type {task_type}, and is too large to say where; try a part")
        return
    for error in [_first(validator, given)] if filled else validator.iter_errors(given):
        if filled or not _open(error, given):
            fields = ", ".join(map(str, cast("dict[str, Any]", schema.get("properties", {})))) or "no fields by name"
            raise BadInput(
                f"{_place('input', error)}: {error.message:.300}; change it to fit task type {task_type}, "
                f"which takes {fields:.200}"
            )


def _steps(schema: Mapping[str, Json], given: Json) -> int:
    return steps(schema, given, Weighing(lambda to: at(schema, to, "input_schema"), weight), MOST_STEPS)


def _first(validator: "Draft202012Validator", given: Json) -> "ValidationError":
    """What is wrong first: the others, perhaps thousands, are not even looked for."""
    from jsonschema_rs import ValidationError

    try:
        validator.validate(given)
    except ValidationError as error:
        return error
    raise AssertionError("it is not valid")


@lru_cache(maxsize=64)
def _validator(schema: str) -> "Draft202012Validator":
    import json

    from jsonschema_rs import Draft202012Validator, RegexOptions

    options = RegexOptions(size_limit=PATTERN_BYTES, dfa_size_limit=PATTERN_BYTES)
    read = json.loads(schema)
    read.pop("$id", None)  # which might be the name of a schema that the library knows
    return Draft202012Validator(read, offline=True, validate_formats=True, pattern_options=options)


def _place(root: str, error: "ValidationError") -> str:
    path: list[str | int] = [root, *error.instance_path]
    found = error.kind.as_dict()
    if error.kind.name == "required":
        path.append(str(found["property"]))
    elif error.kind.name in ("additionalProperties", "unevaluatedProperties"):
        path.append(str(found["unexpected"][0]))
    return field_path(tuple(path))


def _about(schema: Mapping[str, Json], validator: "Draft202012Validator", name: str, default: Json) -> str | None:
    """What is wrong with a default, if anything is: not that the other fields are missing beside it."""
    given = {name: default}
    if (count := _steps(schema, given)) > MOST_STEPS:
        return f"to hold it against the schema takes more than {MOST_STEPS} steps"
    if validator.is_valid(given) or count > TOLD_STEPS:
        return None
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
