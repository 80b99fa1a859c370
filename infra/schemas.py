"""The JSON Schema of every message, generated into docs/reference/schemas; `published/` keeps what was released.

python -m infra.schemas             write the schemas of today's messages
python -m infra.schemas --check     fail if those checked in are not today's, or break a published one
python -m infra.schemas --publish   publish today's: from here on they may only change compatibly
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from domain.commands import COMMANDS
from domain.events import EVENTS
from domain.messages import Message
from domain.reports import REPORTS, RunFinish, RunStart
from domain.work import WORK, Reply
from infra.schema_compatibility import Direction, compatible

FOLDER = Path("docs/reference/schemas")
ID = "https://tallyport.dev/schemas/"


def messages() -> dict[str, tuple[type[Message], Direction]]:
    """Every message by its type, and who must be able to read what."""
    read: dict[str, type[Message]] = {**COMMANDS, **REPORTS, RunStart.TYPE: RunStart, RunFinish.TYPE: RunFinish}
    write: dict[str, type[Message]] = {**WORK, Reply.TYPE: Reply}
    return {
        **{name: (cls, "read") for name, cls in read.items()},
        **{name: (cls, "write") for name, cls in write.items()},
        **{name: (cls, "both") for name, cls in EVENTS.items()},
    }


def schema_of(cls: type[Message]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a message's body."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{ID}{cls.TYPE}.json",
        **cls.model_json_schema(),
        "title": cls.TYPE,
    }


def schemas() -> dict[str, dict[str, Any]]:
    """The schema of every message, by type."""
    return {name: schema_of(cls) for name, (cls, _) in sorted(messages().items())}


def outdated(folder: Path) -> list[str]:
    """How the files of `folder` differ from today's messages."""
    there = {path.stem: path.read_text() for path in folder.glob("*.json")}
    today = {name: _text(schema) for name, schema in schemas().items()}
    return [
        *(f"{name}: no schema is checked in" for name in sorted(set(today) - set(there))),
        *(f"{name}: no such message" for name in sorted(set(there) - set(today))),
        *(f"{name}: differs" for name in sorted(set(today) & set(there)) if today[name] != there[name]),
    ]


def broken(published: Path) -> Iterator[str]:
    """What today's messages break of those in `published`."""
    today = messages()
    for path in sorted(published.glob("*.json")):
        if path.stem not in today:
            yield f"{path.stem}: was published and is gone"
            continue
        cls, direction = today[path.stem]
        for reason in compatible(json.loads(path.read_text()), schema_of(cls), direction):
            yield f"{path.stem}{reason if reason.startswith('.') else ' ' + reason}"


def write(folder: Path) -> None:
    """Make the files of `folder` today's schemas."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.json"):
        path.unlink()
    for name, schema in schemas().items():
        (folder / f"{name}.json").write_text(_text(schema))


def main(arguments: Sequence[str]) -> int:
    """Run one of the three commands above from the repository's root. Returns the exit code."""
    if arguments not in ([], ["--check"], ["--publish"]):
        sys.stderr.write(__doc__ or "")
        return 2
    problems = list(broken(FOLDER / "published"))
    if arguments == ["--check"] and outdated(FOLDER):
        problems += [*outdated(FOLDER), "run: python -m infra.schemas"]
    for problem in problems:
        sys.stderr.write(problem + "\n")
    if problems:
        return 1
    if arguments != ["--check"]:
        write(FOLDER)
    if arguments == ["--publish"]:
        write(FOLDER / "published")
    return 0


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
