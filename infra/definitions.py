"""The broker's topology as RabbitMQ imports it: docs/reference/definitions.json.

python -m infra.definitions             write it
python -m infra.definitions --check     fail if the one checked in is not today's
"""

import json
import sys
from pathlib import Path

from infra.topology import TOPOLOGY, definitions

FILE = Path("docs/reference/definitions.json")


def text() -> str:
    """The file's content."""
    return json.dumps(definitions(TOPOLOGY), indent=2) + "\n"


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        current = FILE.exists() and FILE.read_text() == text()
        if not current:
            sys.stderr.write(f"{FILE} is not today's topology; run: python -m infra.definitions\n")
        return 0 if current else 1
    FILE.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
