"""What a run leaves on the machine: `python3 -m infra.dev.footprint write FILE`, then `compare FILE`.

Recorded are processes, listening sockets, links, network namespaces, mounts, control groups, iptables rules, what the
engine here holds, and files under HOME, the temporary folder and where a system keeps its own. Comparing prints what
is new. It ends with 1 if anything of it can be this checkout's: other programs of the machine come and go meanwhile,
so what bears no mark of ours is shown and does not count. What can't be asked is said.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from infra.dev import engine_api
from infra.dev.children import start_time
from infra.dev.errors import CannotProvide
from infra.dev.folders import ROOT

Footprint = dict[str, list[str]]
SYSTEM = tuple(map(Path, ("/etc", "/opt", "/run", "/var")))
MARK = "TALLY_FOOTPRINT"  # in the environment of every process of a recorded run
OURS = re.compile(
    rf"{re.escape(str(ROOT))}|tally|docker|containerd|veth|rabbit|erlang|epmd|postgres|PGSQL|xtables|pytest|hypothesis"
    r"|schemathesis|(^|[/.])(apt|br|cni|dpkg|node|npm|pip|runc|uv)\b|/tmp[a-z0-9_]{8}(/|$)"
)
LISTENING = {"/proc/net/tcp": "0A", "/proc/net/tcp6": "0A"}


def take() -> Footprint:
    """Everything recorded, by kind."""
    return {
        "processes": sorted(processes()),
        "listening sockets": sorted(sockets()),
        "links": sorted(os.listdir("/sys/class/net")),
        "network namespaces": sorted(names("/run/netns")),
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "control groups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("**/tally-*")),
        "iptables": iptables(),
        **engine(),
        "files": sorted({path for top in (*SYSTEM, Path.home(), Path(tempfile.gettempdir())) for path in files(top)}),
    }


def processes() -> Iterator[str]:
    """Those that run, but kernel threads, this one and its ancestors."""
    mine = set(ancestors(os.getpid()))
    for entry in Path("/proc").glob("[0-9]*"):
        pid, started = int(entry.name), start_time(int(entry.name))
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if started is not None and command and pid not in mine:
            yield f"{pid} {started} {command[:200]}"


def ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        yield pid
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def sockets() -> Iterator[str]:
    for file, state in LISTENING.items():
        for line in Path(file).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state:
                yield f"tcp {fields[1]}"
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "00010000" and len(fields) > 7:
            yield f"unix {fields[7]}"


def names(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def iptables() -> list[str]:
    """Rules by iptables-save; without it or without the right to ask, the tables that the kernel names."""
    program = shutil.which("iptables-save", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    asked = subprocess.run([program], capture_output=True, text=True, check=False) if program else None
    if asked and asked.returncode == 0:
        return [line for line in asked.stdout.splitlines() if line.startswith(("-A", ":", "*"))]
    tables = Path("/proc/net/ip_tables_names")
    try:
        return ["not asked: no iptables-save", *tables.read_text().split()]
    except OSError:
        return ["not asked: no iptables-save, no list of tables"]


def engine() -> Footprint:
    """What the engine of this machine holds; nothing if there is none."""
    try:
        host = engine_api.reachable()
    except CannotProvide:
        host = None
    if host is None:
        return {"engine": ["none answers"]}
    lists = {
        "containers": [item["Id"] for item in engine_api.call(host, "GET", "/containers/json?all=true")[1]],
        "images": [item["Id"] for item in engine_api.call(host, "GET", "/images/json")[1]],
        "networks": [item["Id"] for item in engine_api.call(host, "GET", "/networks")[1]],
        "volumes": [item["Name"] for item in engine_api.call(host, "GET", "/volumes")[1]["Volumes"] or ()],
    }
    return {f"engine's {kind}": sorted(found) for kind, found in lists.items()}


def files(top: Path) -> Iterator[str]:
    """Every file and folder below `top`, but those of this checkout."""
    for folder, folders, found in os.walk(top):
        folders[:] = [name for name in folders if Path(folder, name) != ROOT]
        yield from (os.path.join(folder, name) for name in (*folders, *found))


def new_since(before: Footprint) -> Footprint:
    now = take()
    return {kind: left for kind, seen in now.items() if (left := sorted(set(seen) - set(before.get(kind, []))))}


def ours(kind: str, one: str) -> bool:
    """Whether something new can come from this checkout. Rules, name spaces and engines are nobody else's business."""
    if kind == "processes":
        return started_here(Path("/proc") / one.split(maxsplit=1)[0])
    if kind == "listening sockets":  # each has a process, which is judged as one
        return str(ROOT) in one
    if kind == "files" and one.startswith(f"{Path.home()}/"):
        return True
    return kind not in ("links", "mounts", "files") or bool(OURS.search(one))


def started_here(process: Path) -> bool:
    try:
        return (
            f"{MARK}=".encode() in (process / "environ").read_bytes()
            or str(ROOT).encode() in (process / "cmdline").read_bytes()
            or (process / "cwd").resolve().is_relative_to(ROOT)
        )
    except OSError:
        return False


def compare(before: Footprint) -> int:
    """Print what is new; 1 if any of it can be ours."""
    new = new_since(before)
    left = {kind: [one for one in found if ours(kind, one)] for kind, found in new.items()}
    others = {kind: [one for one in found if one not in left[kind]] for kind, found in new.items()}
    show("left behind", left)
    show("new here, with no mark of ours", others)
    if any(left.values()):
        return 1
    print(f"nothing left behind: {', '.join(before)}")
    return 0


def show(title: str, new: Footprint) -> None:
    for kind, found in new.items():
        if found:
            print(f"{title}: {len(found)} {kind}:")
            print("\n".join(f"  {one}" for one in found[:20]))


def main(command: str, file: Path) -> int:
    if command == "write":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(take()))
        return 0
    return compare(json.loads(file.read_text()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
