"""What is said of fields that do not fit, for people who have never heard of the library that found out."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from domain.messages import field_path

if TYPE_CHECKING:
    from pydantic import ValidationError

MOST = 20
_NAME = "1 to 128 letters, digits and . _ : - are needed, the first of them a letter or a digit"
PATTERNS: Mapping[str, str] = {
    r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$": _NAME,
    r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}(\[(0|[1-9][0-9]{0,3})\])?$": f"{_NAME}; of a child with its place, as T1[0]",
    r"^[a-z0-9][a-z0-9-]{0,62}$": "1 to 63 small letters, digits and - are needed, the first of them no -",
    r"^[^\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]{1,128}$": (
        "1 to 128 characters are needed, none of them a control character or one that turns the direction"
    ),
    r"^[a-z0-9][A-Za-z0-9._:/@-]{0,511}$": "give an image as NAME, NAME:TAG or NAME@sha256:…, in small letters",
    r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$": "give a user as NAME, UID or UID:GID",
    r"^/[^\x00-\x1f]{0,1023}$": "give a path from the root, as /tally/result.json, without control characters",
    r"^[a-z0-9][A-Za-z0-9_.-]{0,62}$": "give the name of a network, 1 to 63 letters, digits and _ . -",
    r"^[1-9][0-9]{0,12}(Ki|Mi|Gi)?$": "give a number of bytes, or one with Ki, Mi or Gi, as 512Mi",
    r"^[a-z0-9][a-z0-9_-]{0,62}$": "give the name of a channel, 1 to 63 small letters, digits and _ -",
    r"^(exit-nonzero|exit:[0-9]{1,3}(-[0-9]{1,3})?|oom|timeout|pull-failed|lost)$": (
        "give exit-nonzero, one exit code as exit:3, several as exit:64-78, oom, timeout, pull-failed or lost"
    ),
    r"^(namespace:[a-z0-9][a-z0-9-]{0,62}|(pool|key):[A-Za-z0-9][A-Za-z0-9._:-]{0,127})$": (
        "give namespace:NAME, pool:NAME or key:KEY"
    ),
    r"^[^\x00-\x1f\x7f]{1,128}$": "1 to 128 characters are needed, none of them a control character",
    r"^[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20\x7f]{1,2047}$": "give a URI, as s3://lake/sales.csv",
    r"^[0-9a-f]{64}$": "give the SHA-256, as 64 small hexadecimal digits",
}
"""What the patterns of commands, and of what containers list, ask for."""


def misfits(error: "ValidationError", within: str = "") -> tuple[bool, list[dict[str, str]]]:
    """What does not fit, by field, and whether the fields are unknown ones: if any is, only those are told.

    `within`: the field that holds what was read.
    """
    found: Sequence[Mapping[str, Any]] = error.errors(include_url=False, include_input=False)
    strange = [one for one in found if one["type"] == "extra_forbidden"]
    told = strange or [one for one in found if not _for_another(one, found)]
    return bool(strange), [
        {
            "field": field_path((within, *one["loc"])) if within else field_path(one["loc"]),
            "problem": "no such field" if strange else problem(one),
        }
        for one in told[:MOST]
    ]


def _for_another(one: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> bool:
    """A list is said to be too short also when there are enough values in it, one of which does not fit."""
    place = one["loc"]
    return one["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in found
    )


def problem(found: Mapping[str, Any]) -> str:
    """What is wrong, and what to give instead. `found`: one error of the library's."""
    context = found.get("ctx", {})
    match found["type"]:
        case "string_pattern_mismatch" if context["pattern"] in PATTERNS:
            return PATTERNS[context["pattern"]]
        case "too_short":
            return f"give at least {context['min_length']}"
        case "too_long":
            return f"give at most {context['max_length']}"
        case "time_delta_parsing" | "time_delta_type":
            return "give a span as ISO 8601 has it, such as PT10S, PT5M or P1D"
        case _:
            return str(found["msg"]).removeprefix("Value error, ")
