"""This machine's Python as files of an image: interpreter, standard library, and the libraries they load."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
LEFT_OUT = {"test", "tests", "tkinter", "idlelib", "turtledemo", "site-packages", "dist-packages", "ensurepip"}
LEFT_OUT_ENDS = (".opt-1.pyc", ".opt-2.pyc", ".a", ".o")
# loaded by name at run time, or by wheels that were built for any Linux, so no program here lists them
LOADED_LATE = (
    *("libgcc_s.so.1", "libstdc++.so.6", "libresolv.so.2", "libnss_files.so.2", "libnss_dns.so.2"),
    *("librt.so.1", "libpthread.so.0", "libdl.so.2", "libm.so.6", "libutil.so.1"),
)
LINKED = re.compile(r"(?:=> )?(/\S+) \(0x")
SEARCHED = ("/lib", "/usr/lib")  # by the dynamic loader without being told


def add(tar: tarfile.TarFile) -> None:
    """Add Python below /usr/local, wherever it is here: any user of a container can read it there."""
    program = Path(os.path.realpath(sys.executable))
    library = Path(sysconfig.get_path("stdlib"))
    put(tar, program, f"usr/local/bin/{VERSION}")
    tar.add(library, f"usr/local/lib/{VERSION}", filter=wanted)
    loaded = [path for path in library.glob("lib-dynload/*.so") if "tkinter" not in path.name]
    for path in sorted(linked_libraries([program, *loaded])):
        put(tar, path, place(path))
    for name in ("python", "python3"):
        member = tarfile.TarInfo(f"usr/local/bin/{name}")
        member.type, member.linkname = tarfile.SYMTYPE, VERSION
        tar.addfile(member)


def linked_libraries(binaries: list[Path]) -> set[Path]:
    """Every shared library that `binaries` need by `ldd`, and those loaded late from the same folders."""
    told = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False).stdout
    found = {Path(os.path.normpath(path)) for path in LINKED.findall(told)}
    late = {folder / name for folder in {path.parent for path in found} for name in LOADED_LATE}
    return found | {path for path in late if path.exists()}


def place(library: Path) -> str:
    return str(library).lstrip("/") if str(library).startswith(SEARCHED) else f"usr/lib/{library.name}"


def put(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """Add the content of the file at `path` as `name`, whatever links lead to it here."""
    real = os.path.realpath(path)
    member = tar.gettarinfo(real, name)
    with open(real, "rb") as content:
        tar.addfile(owned_by_root(member), content)


def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = set(Path(member.name).parts)
    if LEFT_OUT & parts or member.name.endswith(LEFT_OUT_ENDS):
        return None
    return None if "/config-" in member.name or "_tkinter" in member.name else owned_by_root(member)


def owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
