"""Where the development stack keeps its state: everything below `.dev/`, which git ignores."""

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
