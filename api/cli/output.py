"""Rows on stdout in the form that was asked for."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter

from api.cli.plain import plain, plain_json

View: TypeAlias = dict[str, Any]
Form = Literal["table", "wide", "json", "jsonl", "yaml", "name"]
COLORS = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "skipped": "yellow",
    "expired": "yellow",
    "paused": "yellow",
    "draining": "yellow",
    "quarantined": "red",
    "running": "cyan",
}


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Common:
    """What every command takes.

    Parameters
    ----------
    output
        Form of the data.
    namespace
        Namespace of names and of what is submitted.
    no_color
        Plain text (so does NO_COLOR).
    quiet
        No progress on stderr.
    """

    output: Annotated[Form, Parameter(name=["--output", "-o"])] = "table"
    namespace: Annotated[str | None, Parameter(name=["--namespace", "-n"])] = None
    no_color: Annotated[bool, Parameter(negative=())] = False
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())] = False

    @property
    def people(self) -> bool:
        """Whether a person reads it."""
        return self.output in ("table", "wide")

    @property
    def color(self) -> bool:
        """Not where NO_COLOR is set to anything (no-color.org), nor on a terminal that has none."""
        plain = self.no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return not plain and sys.stdout.isatty()


COMMON = Common()
SHORT = 18
"""So many characters of an id are shown, if they tell it from the others of a list."""


@dataclass(frozen=True, slots=True)
class Column:
    """`value` of a row as text; `wide`: only in the wide form."""

    title: str
    value: Callable[[View, bool], str]
    wide: bool = False


def rows(
    found: Sequence[View], columns: Sequence[Column], common: Common, name: str = "id", further: bool = False
) -> None:
    """A list. `name`: the field that stands for a row in the form `name`. `further`: goes on below one before."""
    if further and not found:
        return
    if common.people:
        table(found, columns, common, further)
    elif common.output == "name":
        write("".join(f"{row[name]}\n" for row in found))
    elif common.output == "jsonl":
        write("".join(f"{compact(row)}\n" for row in found))
    else:
        document(list(found), common)


def document(data: Any, common: Common, name: str = "id") -> None:
    """One object or list as JSON, JSON lines or YAML. `name`: the field that stands for it in the form `name`."""
    if common.output == "name" and name in data:
        write(f"{data[name]}\n")
    elif common.output == "yaml":
        import yaml

        write(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    elif common.output == "jsonl":
        write(compact(data) + "\n")
    else:
        write(plain_json(json.dumps(data, indent=2, ensure_ascii=False)) + "\n")


def table(found: Sequence[View], columns: Sequence[Column], common: Common, further: bool = False) -> None:
    """Aligned columns under their titles; nothing at all is a line on stderr."""
    if not found:
        if not common.quiet:
            sys.stderr.write("nothing found\n")
        return
    wide = common.output == "wide"
    shown = [column for column in columns if wide or not column.wide]
    cells = [[column.title for column in shown]] + [
        [plain(column.value(row, wide)) for column in shown] for row in found
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    if common.color:
        lines = [f"\x1b[2m{lines[0]}\x1b[0m", *(colored(line, row) for line, row in zip(lines[1:], found, strict=True))]
    write("\n".join(lines[1:] if further else lines) + "\n")


def colored(line: str, row: View) -> str:
    """`line` with the row's status in its color."""
    from rich.color import Color
    from rich.style import Style

    status = str(row.get("status", ""))
    if status not in COLORS:
        return line
    return line.replace(status, Style(color=Color.parse(COLORS[status])).render(status), 1)


def write(text: str) -> None:
    """Text on stdout, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def compact(data: Any) -> str:
    """JSON on one line."""
    return plain_json(json.dumps(data, ensure_ascii=False, separators=(",", ":")))


def field(name: str) -> Callable[[View, bool], str]:
    """A column's value as it stands; "-" where there is none."""
    return lambda row, wide: "-" if row.get(name) is None else str(row[name])


def ident(name: str, found: Sequence[View] = ()) -> Callable[[View, bool], str]:
    """An id: its first characters, all of it in the wide form. `found`: rows whose ids they are to tell apart."""
    ids = {str(row[name]) for row in found}
    most = next((n for n in range(SHORT, 36) if len({one[:n] for one in ids}) == len(ids)), 36)
    return lambda row, wide: str(row[name]) if wide else short(str(row[name]), most)


def moment(name: str) -> Callable[[View, bool], str]:
    """A time: how long ago, itself in the wide form."""
    return lambda row, wide: "-" if not row.get(name) else str(row[name]) if wide else f"{age(str(row[name]))} ago"


def span(begin: str, *ends: str) -> Callable[[View, bool], str]:
    """The time from one of a row's times to the first of others that is there; up to now while none is."""

    def value(row: View, wide: bool) -> str:
        return "-" if not row.get(begin) else age(str(row[begin]), next(filter(None, map(row.get, ends)), None))

    return value


def short(ident: str, most: int = SHORT) -> str:
    """The beginning of a UUID that people type; other names as they are."""
    return ident[:most] if len(ident) == 36 and ident.count("-") == 4 else ident


def needed(task_id: str, when: str) -> str:
    """A task that another waits for, with how it must end if that is not in success."""
    return task_id if when == "succeeded" else f"{task_id} ({when})"


def age(since: str, until: str | None = None) -> str:
    """The time from one RFC 3339 time to another (None: now) in its largest unit."""
    end = datetime.fromisoformat(until) if until else datetime.now(UTC)
    seconds = max(0.0, (end - datetime.fromisoformat(since)).total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s" if seconds >= 10 else f"{seconds:.1f}s"
