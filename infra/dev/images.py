"""Base images made from this machine's own files, where no registry is to be had.

`tallyport/busybox:dev` is a static busybox; `tallyport/python:dev` this machine's Python with its standard
library. TALLY_IMAGE_BUSYBOX and TALLY_IMAGE_PYTHON name others, which the engine must then have or be able
to pull.
"""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.dev import engine_api, fetch, python_image
from infra.dev.errors import CannotProvide
from infra.dev.folders import ROOT

BUSYBOX = "tallyport/busybox:dev"
PYTHON = "tallyport/python:dev"
LABEL = "LABEL tallyport.dev=1"
RECIPE = "tallyport.recipe"
ENTRYPOINTS = ROOT / "infra" / "deploy"
PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
postgres:x:70:70:postgres:/var/lib/postgresql:/bin/sh
rabbitmq:x:100:100:rabbitmq:/var/lib/rabbitmq:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/sh
"""
GROUP = b"root:x:0:\npostgres:x:70:\nrabbitmq:x:100:\nnogroup:x:65534:\n"


def ensure(host: str) -> list[str]:
    """See that the engine at `host` has both images; returns the names of those made now."""
    made = list[str]()
    for variable, name, build in (
        ("TALLY_IMAGE_BUSYBOX", BUSYBOX, busybox),
        ("TALLY_IMAGE_PYTHON", PYTHON, python),
    ):
        named = os.environ.get(variable)
        if named and named != name:
            pull(host, named, variable)
        elif make(host, name, build, ['CMD ["/bin/sh"]', *environment(name)]):
            made.append(name)
    return made


def make(host: str, name: str, build: Callable[[], bytes], changes: Sequence[str]) -> bool:
    """Make image `name` unless the engine has it by the same recipe; whether it was made."""
    label = f"{RECIPE}={recipe(changes)}"
    if engine_api.has_image(host, name, label):
        return False
    engine_api.import_image(host, name, build(), [LABEL, f"LABEL {label}", *changes])
    return True


def recipe(changes: Sequence[str]) -> str:
    """Another one when an image has to be made again: with this Python, this code, an entrypoint or `changes`."""
    files = (*Path(__file__).parent.glob("*image*.py"), *ENTRYPOINTS.glob("*.sh"))
    parts = (sys.version, *changes, *(file.read_text() for file in sorted(files)))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def environment(name: str) -> list[str]:
    path = "ENV PATH=/usr/local/bin:/usr/bin:/bin"
    return [path, "ENV LANG=C.UTF-8", "ENV PYTHONDONTWRITEBYTECODE=1"] if name == PYTHON else [path]


def pull(host: str, name: str, variable: str) -> None:
    if engine_api.has_image(host, name):
        return
    repo, _, tag = name.rpartition(":")
    engine_api.call(host, "POST", f"/images/create?fromImage={repo}&tag={tag}", timeout=300)
    if not engine_api.has_image(host, name):
        raise CannotProvide(name, "the engine neither has it nor can pull it", f"Unset {variable}.")


def busybox() -> bytes:
    """A tar of a file system with busybox under all its names."""
    return file_system(lambda tar: None)


def python() -> bytes:
    """The same with this machine's Python as /usr/local/bin/python."""
    return file_system(python_image.add)


def file_system(fill: Callable[[tarfile.TarFile], None]) -> bytes:
    """A tar of the busybox file system and what `fill` adds to it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        add_busybox(tar, fetch.busybox())
        fill(tar)
    return buffer.getvalue()


def add_busybox(tar: tarfile.TarFile, program: Path) -> None:
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for folder, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("tally", 0o777)):
        add_folder(tar, folder, mode)
    tar.add(program, "bin/busybox", filter=python_image.owned_by_root)
    for name in sorted(set(listed) - {"busybox"}):
        add_link(tar, f"bin/{name}", "busybox")
    add_file(tar, "etc/passwd", PASSWD)
    add_file(tar, "etc/group", GROUP)


def add_folder(tar: tarfile.TarFile, name: str, mode: int, owner: int = 0) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, mode
    member.uid = member.gid = owner
    tar.addfile(member)


def add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    tar.addfile(member)


def add_file(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))
