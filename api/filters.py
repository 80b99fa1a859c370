"""What narrows a list of tasks: the words that `tally ls`, `--where` and the client take."""

from collections.abc import Iterable

from domain.errors import BadQuery, Refused

FILTERS = (
    "status",
    "name",
    "task_type",
    "worker",
    "workflow",
    "parent",
    "created_after",
    "created_before",
    "namespace",
)


def checked(filters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The filters as the API names them: `created-after` is `created_after`. Raises Refused."""
    named: dict[str, str] = {}
    for given, value in filters:
        name = given if given.startswith("label.") else given.replace("-", "_")
        if name not in FILTERS and (not name.startswith("label.") or name == "label."):
            raise _bad(f"{given}: no such filter; there are {', '.join(FILTERS)} and label.NAME")
        if not value and name in FILTERS:
            raise _bad(f"{given}: give it a value, or leave it out")
        if name in named:
            raise _bad(f"{given} is given twice; give each filter once, several statuses as status=failed,expired")
        named[name] = value
    return named


def parsed(text: str) -> dict[str, str]:
    """`status=failed,cancelled,label.team=data`: what has no `=` belongs to the value before. Raises Refused."""
    pairs: list[tuple[str, str]] = []
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if equals:
            pairs.append((name, value))
        elif pairs and name:
            pairs[-1] = pairs[-1][0], f"{pairs[-1][1]},{name}"
        else:
            raise _bad(f"{text!r}: give NAME=VALUE, and commas between them")
    return checked(pairs)


def _bad(detail: str) -> Refused:
    return Refused(BadQuery(detail).problem())
