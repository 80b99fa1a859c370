"""Where the development stack keeps its state: everything below `.dev/`, which git ignores."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEV = ROOT / ".dev"
CACHE = DEV / "cache"
VENV = DEV / "venv"
LOGS = DEV / "log"


def made(folder: Path, mode: int = 0o755) -> Path:
    """`folder`, after creating it and its parents where they are missing."""
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    return folder


@contextmanager
def locked(name: str) -> Generator[None]:
    """One holder of `name` at a time, across the threads and processes of this checkout."""
    with (made(DEV / "locks") / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
