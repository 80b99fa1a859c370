"""docs/reference/cli.md, written from the commands themselves: `python -m infra.cli_page`."""

import re
from pathlib import Path

from infra.main import app, connect

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
EXITS = """
## Exit codes

| Code | Meaning |
|---|---|
| 0 | done |
| 1 | error |
| 2 | usage |
| 3 | not found |
| 4 | not allowed |
| 5 | the command was refused |
| 6 | the API or the broker is not reached |
| 124 | waited too long; the task goes on |
| 125 | the platform could not run it |
| 130 | Ctrl-C; the task goes on |

With `--wait` the container's own. Data goes to stdout, everything else to stderr.
"""


def page() -> str:
    """The whole page, as Markdown."""
    text = app(connect).generate_docs(output_format="markdown")
    text = re.sub(r"^(tally [a-z -]+?) -m [\w.]+", r"\1", text, flags=re.MULTILINE)  # how this page was made
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines()) + "\n" + EXITS


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page())
