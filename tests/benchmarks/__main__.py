"""`make bench` prints every figure, `make bench FIGURE=T1` one. Servers are private and durable, and end with it."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.dev import stack
from infra.dev.folders import DEV, made
from tests.benchmarks import figures, orchestration

FIGURES = {**figures.FIGURES, **orchestration.FIGURES}


def main(wanted: list[str]) -> int:
    """Exit status 0 when every figure asked for is met."""
    if unknown := [name for name in wanted if name not in FIGURES]:
        print(f"no figure {unknown[0]}: one of {', '.join(FIGURES)}", file=sys.stderr)
        return 2
    with TemporaryDirectory(dir=made(DEV / "bench")) as folder, stack.up(Path(folder) / "stack") as servers:
        met = [FIGURES[name](servers, Path(folder) / name) for name in wanted or FIGURES]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main([name for name in os.environ.get("FIGURE", "").split(",") if name]))
