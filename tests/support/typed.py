"""`tally` as a person types it: a process of its own, against a running platform."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from infra.dev_system import described
from infra.system import System

ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Typed:
    """What one command line did."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Shell:
    """A folder in which `tally dev` seems to run, and a home of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])

    def __call__(self, *words: str, stdin: str = "", seconds: float = 90) -> Typed:
        """Type a command line and wait for its end."""
        done = subprocess.run(
            self.command(*words),
            env=self.env(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Typed(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Type a command line and leave it running."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command(*words), env=self.env(), stdout=pipe, stderr=pipe, text=True)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "infra.main", *words]

    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
        home = {"XDG_CONFIG_HOME": str(self.folder / "config"), "TALLY_DEV__FOLDER": str(self.folder)}
        return {**kept, **home, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **self.environment}


def shell(system: System, folder: Path) -> Shell:
    """A shell in whose folder `dev.json` names this system."""
    described(system, management="", metrics="").write(folder)
    return Shell(folder)


def reader_secret(system: System) -> str:
    """What the development issuer knows its client `reader` by."""
    secrets: dict[str, str] = json.loads((system.folder / "issuer" / "clients.json").read_text())
    return secrets["reader"]
