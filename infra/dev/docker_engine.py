"""A container engine: the one that is here, else a private dockerd in namespaces of its own.

A private engine gets its own mount, network and process namespaces, and is the first process's child in the
last: when its keeper ends, by whatever signal, the kernel ends dockerd, containerd, every shim and container,
and takes the mounts, links and iptables rules of those namespaces with it. The machine's own engine, bridge
and rules are never touched, and nothing is added to the machine but one veth pair.
"""

import hashlib
import os
import platform
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.dev import engine_api, fetch
from infra.dev.children import Child, Kept, Plan, keep, wait_until
from infra.dev.errors import CannotProvide
from infra.dev.fetch import EngineTools
from infra.dev.folders import made

NAMESPACES = ("unshare", "-m", "-n", "-p", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
# The engine's own view of the machine: sockets in a /run of its own, what it writes to /etc kept in its folder,
# and no empty cgroup2 beside version 1, which crun refuses.
PREPARE = """\
mount -n -t tmpfs -o mode=755 tallyport /run
mount -n -t overlay -o lowerdir=/etc,upperdir="$1/etc",workdir="$1/etc-work" tallyport /etc
umount -n /sys/fs/cgroup/unified 2>/dev/null
ip link set lo up
"""
# no Kubernetes interface, no /opt/containerd
CONTAINERD = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'


@dataclass(slots=True)
class Running:
    """An engine to use. `address` is the IP at which published ports are reached; `kept` is None if found."""

    host: str
    address: str
    kept: Kept | None = None

    @property
    def private(self) -> bool:
        return self.kept is not None

    def stop(self) -> None:
        """End a private engine and all its containers; a found one is left alone."""
        if self.kept is None:
            return
        if self.kept.running:
            engine_api.remove_all_containers(self.host)
        self.kept.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(folder: Path, owned: bool = True) -> Running:
    """The engine that answers at DOCKER_HOST or the default socket, else a private one on `folder`."""
    found = engine_api.reachable()
    return Running(found, "127.0.0.1") if found else start_private(folder, owned)


def start_private(folder: Path, owned: bool = True) -> Running:
    """Start dockerd and containerd on `folder`, which keeps images from one start to the next."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise CannotProvide(
            "container engine",
            "none answers at DOCKER_HOST or /var/run/docker.sock, and a private one needs Linux and root",
            "Install and start Docker, or name one in DOCKER_HOST.",
        )
    tools, folder = fetch.engine(), made(folder.resolve())
    sockets = socket_folder(folder)
    shutil.rmtree(sockets, ignore_errors=True)  # stale sockets of an engine that was killed
    made(sockets, 0o700)
    host = f"unix://{sockets}/docker.sock"
    configure(folder)
    kept = keep(plan(tools, folder, sockets), owned)
    wait_until(lambda: engine_api.answers(host), kept, "dockerd", seconds=60)
    return Running(host, connect(tools, kept.keeper_pid), kept)


def socket_folder(folder: Path) -> Path:
    """A short folder for sockets: their paths may have 107 bytes, and the engine's own go deep."""
    sockets = folder / "run"
    if len(str(sockets)) < 60:
        return sockets
    return Path("/tmp") / f"tally-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"


def configure(folder: Path) -> None:
    """Files of its own, so that those of the machine's engine are not read."""
    (folder / "containerd.toml").write_text(CONTAINERD)
    (folder / "daemon.json").write_text("{}\n")
    for name in ("etc", "etc-work", "tmp"):
        made(folder / name)


def plan(tools: EngineTools, folder: Path, sockets: Path) -> Plan:
    cgroup = f"/tally-{secrets.token_hex(4)}"
    env = {"LANG": "C.UTF-8", "HOME": str(folder), "TMPDIR": f"{folder}/tmp", **tools.env}
    containerd = [
        "containerd",
        *("--config", f"{folder}/containerd.toml", "--log-level", "warn"),
        *("--address", f"{sockets}/containerd.sock"),
        *("--root", f"{folder}/containerd", "--state", f"{folder}/containerd-state"),
    ]
    dockerd = [
        "dockerd",
        *("--config-file", f"{folder}/daemon.json"),
        *("--host", f"unix://{sockets}/docker.sock", "--containerd", f"{sockets}/containerd.sock"),
        *("--data-root", f"{folder}/data", "--exec-root", f"{sockets}/exec", "--pidfile", f"{sockets}/pid"),
        *("--live-restore", "--log-level", "warn", "--cgroup-parent", cgroup),
        *("--exec-opt", "native.cgroupdriver=cgroupfs"),
        *(("--add-runtime", f"crun={tools.crun}") if tools.crun else ()),
    ]
    children = [
        Child("containerd", containerd, env, folder / "containerd.log", ready=sockets / "containerd.sock"),
        Child("dockerd", dockerd, env, folder / "dockerd.log"),
    ]
    before = ["env", *(f"{name}={value}" for name, value in tools.env.items()), "sh", "-c", PREPARE, "sh", str(folder)]
    return Plan(children, before=[before], wrapper=NAMESPACES, cgroup=cgroup, folder=sockets)


def connect(tools: EngineTools, pid: int) -> str:
    """Join the engine's network namespace to the machine's by a veth pair; returns the engine's address.

    The pair goes with the namespace. Addresses are of 198.18.0.0/15, which no network routes (RFC 2544).
    """
    subnet = secrets.randbelow(0x7FFF) * 4
    base = f"198.{18 + (subnet >> 16)}.{(subnet >> 8) & 255}"
    here, there = f"{base}.{(subnet & 255) + 1}", f"{base}.{(subnet & 255) + 2}"
    name = f"tally-{secrets.token_hex(3)}"
    inside = ("nsenter", "-t", str(pid), "-n")
    for command in (
        ("ip", "link", "add", name, "type", "veth", "peer", "name", "host0", "netns", str(pid)),
        ("ip", "address", "add", f"{here}/30", "dev", name),
        ("ip", "link", "set", name, "up"),
        (*inside, "ip", "address", "add", f"{there}/30", "dev", "host0"),
        (*inside, "ip", "link", "set", "host0", "up"),
    ):
        subprocess.run(command, env=tools.env, check=True, capture_output=True)
    return there
