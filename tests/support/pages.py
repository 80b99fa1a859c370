"""The code blocks of the pages that people read, so that tests can run them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WRITTEN = ("README.md", "docs/*.md", "docs/how-to/*.md", "docs/explanation/*.md", "docs/decisions/*.md")
BLOCK = re.compile(r"^ *```([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """`kind`: what stands after the opening fence, "" for nothing."""

    kind: str
    text: str


def blocks(page: str, *kinds: str) -> list[Block]:
    """The blocks of a page, named from the top of the checkout; of these kinds only, if any are given."""
    found = [Block(kind, text) for kind, text in BLOCK.findall((ROOT / page).read_text())]
    return [block for block in found if not kinds or block.kind in kinds]


def script(page: str) -> str:
    """All that a page tells a shell, in one go."""
    return "\n".join(block.text for block in blocks(page, "sh"))


def written() -> list[str]:
    """Pages written by hand; those of docs/reference are made from the code, and compared with it."""
    return sorted(str(file.relative_to(ROOT)) for pattern in WRITTEN for file in ROOT.glob(pattern))
