"""The virtual environment, from the hash-pinned lock, on machines with or without uv, venv and pip."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from infra.dev import debs
from infra.dev.errors import DevError
from infra.dev.folders import CACHE, DEV, ROOT, VENV, made

TRIES = 3


def ensure(lock: str = "test") -> Path:
    """Make `.dev/venv` hold what `infra/locks/<lock>.txt` names, and this checkout; returns its python.

    Does nothing if the lock and the interpreter are those of the last run; another lock is installed over it.
    """
    requirements = ROOT / "infra" / "locks" / f"{lock}.txt"
    stamp, wanted = VENV / ".lock", f"{sys.version}\n{hashlib.sha256(requirements.read_bytes()).hexdigest()}"
    python = VENV / "bin" / "python"
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    same_python = python.exists() and stamp.exists() and stamp.read_text().startswith(sys.version)
    install = installer(reuse=same_python)
    install(["--require-hashes", "-r", str(requirements)])
    install(["--no-deps", "--no-build-isolation", "-e", str(ROOT)])
    stamp.write_text(wanted)
    return python


def installer(reuse: bool) -> Callable[[list[str]], None]:
    """Make an environment, unless there is one to `reuse`, by the first way that works; how to install into it."""
    uv = shutil.which("uv")
    if uv:
        if not reuse:
            run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(VENV)])
        return lambda arguments: run([uv, "pip", "install", "-q", "--python", str(VENV), *arguments])
    pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if find_spec("ensurepip"):
        if not reuse:
            run([sys.executable, "-m", "venv", "--clear", str(VENV)])
        return lambda arguments: run([str(VENV / "bin/python"), *pip, *arguments])
    wheel = debian_pip()
    if not reuse:
        run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)])
    return lambda arguments: run([str(VENV / "bin/python"), *pip, *arguments], PYTHONPATH=str(wheel))


def debian_pip() -> Path:
    """pip's own wheel out of Debian's python3-pip-whl: plain Debian has neither ensurepip nor pip."""
    tree = DEV / "tools" / "pip"
    debs.unpack(["python3-pip-whl"], tree)
    return max(tree.glob("usr/share/python-wheels/pip-*.whl"))


def run(command: list[str], **env: str) -> None:
    """Run a package client with its caches below `.dev`; a failure is tried again."""
    caches = {"PIP_CACHE_DIR": CACHE / "pip", "UV_CACHE_DIR": CACHE / "uv"}
    environment = {**os.environ, **{name: str(made(path)) for name, path in caches.items()}, **env}
    environment.pop("VIRTUAL_ENV", None)
    said = ""
    for attempt in range(1, TRIES + 1):
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            return
        said = (done.stderr or done.stdout).strip()[-2000:]
        time.sleep(attempt)
    raise DevError(f"{' '.join(command)} failed:\n{said}")
