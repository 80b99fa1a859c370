"""Debian packages, downloaded with apt's own client and unpacked into a folder: no root, nothing installed.

apt keeps its lists and archives below `.dev/apt`, so the machine's own state is neither changed nor locked.
Only packages that the machine lacks are fetched: what is installed is used from where it is.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from infra.dev.errors import CannotProvide
from infra.dev.folders import DEV, locked, made

APT = DEV / "apt"
LISTS_AGE = 24 * 3600.0  # seconds after which apt's lists are fetched anew
TRIES = 4


def available() -> bool:
    return all(shutil.which(tool) for tool in ("apt-get", "dpkg"))


def unpack(wanted: Sequence[str], into: Path) -> None:
    """Put `wanted` and what they need beyond the installed packages into `into`, once; later calls are free.

    Raises CannotProvide where there is no apt, or where apt can't fetch them.
    """
    stamp, done = into / ".unpacked", " ".join(wanted)
    with locked(into.name):
        if stamp.exists() and stamp.read_text() == done:
            return
        if not available():
            raise CannotProvide(done, "not installed, and this machine has no apt to fetch it with", "Install it.")
        shutil.rmtree(into, ignore_errors=True)
        archives = made(APT / "debs" / into.name)
        with locked("apt"):  # two apt-get runs on one state would break each other
            update()
            try:
                apt("download", "-qq", *missing(wanted), cwd=archives)
            except CannotProvide:  # lists name versions that the mirror has replaced since
                update(max_age=0)
                apt("download", "-qq", *missing(wanted), cwd=archives)
        made(into)
        for archive in sorted(archives.glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(archive), str(into)], check=True)
        shutil.rmtree(archives)
        stamp.write_text(done)


def missing(wanted: Sequence[str]) -> list[str]:
    """`wanted`, and those of their dependencies that are not installed, by apt's own resolution."""
    simulated = apt("-s", "--no-install-recommends", "install", *wanted)
    named = {line.split()[1] for line in simulated.splitlines() if line.startswith("Inst ")}
    return sorted(named | set(wanted))


def update(max_age: float = LISTS_AGE) -> None:
    made(APT / "lists" / "partial")
    made(APT / "archives" / "partial")
    fetched = APT / "updated"
    if not fetched.exists() or time.time() - fetched.stat().st_mtime > max_age:
        apt("update", "-qq")
        fetched.touch()


def apt(*arguments: str, cwd: Path | None = None) -> str:
    """Run apt-get on the private state; a failure is tried again, because mirrors fail in passing."""
    command = ["apt-get", *private_state(), *arguments]
    said = ""
    for attempt in range(1, TRIES + 1):
        done = subprocess.run(command, check=False, cwd=cwd, capture_output=True, text=True, env=quiet())
        if done.returncode == 0:
            return done.stdout
        said = done.stderr.strip()[-400:]
        time.sleep(attempt)
    raise CannotProvide(f"apt-get {' '.join(arguments)}", said, "See that apt's sources can be reached.")


def private_state() -> list[str]:
    options = {
        "Dir::State::lists": f"{APT}/lists",
        "Dir::Cache::archives": f"{APT}/archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",
    }
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def quiet() -> dict[str, str]:
    return {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
