"""The virtual environment, from the hash-pinned lock, on machines with or without uv, venv and pip."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from infra.dev import debs
from infra.dev.errors import DevError
from infra.dev.folders import CACHE, DEV, ROOT, VENV, locked, made

TRIES = 3


def ensure(lock: str = "test") -> Path:
    """Make `.dev/venv` hold what `infra/locks/<lock>.txt` names, and this checkout; returns its python.

    Does nothing if the lock and the interpreter are those of the last run; another lock is installed over it.
    """
    requirements = ROOT / "infra" / "locks" / f"{lock}.txt"
    stamp, wanted = VENV / ".lock", f"{sys.version}\n{hashlib.sha256(requirements.read_bytes()).hexdigest()}"
    python = VENV / "bin" / "python"
    with locked("venv"):
        if not (python.exists() and stamp.exists() and stamp.read_text() == wanted):
            fill(python, requirements, stamp)
            stamp.write_text(wanted)
    return python


def fill(python: Path, requirements: Path, stamp: Path) -> None:
    if not (python.exists() and stamp.exists() and stamp.read_text().startswith(sys.version)):
        make_empty()
    install = [uv(requirements), "pip", "install", "-q", "--python", str(VENV)]
    run([*install, "--require-hashes", "-r", str(requirements)])
    run([*install, "--no-deps", "--no-build-isolation", "-e", str(ROOT)])


def lay(requirements: Path, folder: Path) -> None:
    """Install `requirements` into a plain `folder`, for an image of the same Python; free if nothing changed."""
    stamp, wanted = folder.with_suffix(".lock"), requirements.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    install = [uv(ROOT / "infra/locks/test.txt"), "pip", "install", "-q", "--python", str(VENV)]
    run([*install, "--require-hashes", "--compile-bytecode", "--target", str(made(folder)), "-r", str(requirements)])
    stamp.write_text(wanted)


def make_empty() -> None:
    on_path = shutil.which("uv")
    if on_path:
        run([on_path, "venv", "-q", "--clear", "--python", sys.executable, str(VENV)])
    else:
        run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)])


def uv(requirements: Path) -> str:
    """uv from the path, else the one that the lock pins, installed by whatever pip there is: 6x faster than pip."""
    own = VENV / "bin" / "uv"
    on_path = shutil.which("uv")
    if on_path or own.exists():
        return on_path or str(own)
    pinned = VENV / "uv.txt"
    pinned.write_text(lines_of("uv", requirements.read_text()))
    pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", str(pinned)]
    run([str(VENV / "bin" / "python"), *pip], PYTHONPATH=str(pip_wheel()))
    return str(own)


def lines_of(name: str, lock: str) -> str:
    """The one requirement `name` of a lock, with its hashes."""
    found = re.search(rf"^{name}==.*?(?=^\S|\Z)", lock, re.MULTILINE | re.DOTALL)
    if found is None:
        raise DevError(f"{name} is not in the lock; run `make locks`")
    return found[0]


def pip_wheel() -> Path:
    """The pip that Python carries for new environments, else Debian's: plain Debian has neither of its own."""
    if find_spec("ensurepip"):
        import ensurepip

        bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
        if bundled:
            return bundled[-1]
    return debian_pip()


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
