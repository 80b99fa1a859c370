"""`python -m infra.processes NAME`: one process, as `tally serve NAME` runs it."""

import sys

from domain.errors import TallyportError
from infra.processes.serve import serve

if __name__ == "__main__":
    try:
        serve(sys.argv[1] if len(sys.argv) > 1 else "")
    except TallyportError as error:
        sys.exit(f"{type(error).__name__}: {error}")
