"""docs/reference/explain.md, written from the codes themselves: `python -m infra.explain_page`."""

from collections.abc import Mapping
from pathlib import Path

from domain.reasons import ENDED, HELD, WAITS

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "explain.md"
HEAD = """# Why a task stands as it does

`tally explain ID`, `GET /v1/tasks/{id}/explain` and `await task.explain()` answer with `causes`, each a `code`, a
`detail` for people, which says what to do where there is something, and facts by name. Programs go by the code; details
may change.
"""
PARTS: Mapping[str, Mapping[str, str]] = {
    "It waits: all of these that hold": WAITS,
    "A worker has it: the first, and perhaps the last": HELD,
    "It has ended: exactly one": ENDED,
}


def page() -> str:
    """The whole page, as Markdown."""
    parts = [HEAD]
    for title, codes in PARTS.items():
        rows = [f"| `{code}` | {meaning} |" for code, meaning in codes.items()]
        parts.append("\n".join([f"## {title}", "", "| Code | Meaning |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
