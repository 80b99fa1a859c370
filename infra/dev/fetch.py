"""Where each binary is: installed, or unpacked from Debian packages into `.dev/tools`."""

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.dev import debs
from infra.dev.errors import CannotProvide
from infra.dev.folders import DEV, made

TOOLS = DEV / "tools"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
IPTABLES = ("", "-save", "-restore")


@dataclass(frozen=True, slots=True)
class RabbitMQTools:
    """`server` is the inner start script; `erlang` the folder of `erl` and `epmd`."""

    server: Path
    erlang: Path


@dataclass(frozen=True, slots=True)
class EngineTools:
    """Environment under which `dockerd`, `containerd`, `crun`, `iptables` and `ip` are found."""

    env: dict[str, str]
    crun: str | None


def rabbitmq() -> RabbitMQTools:
    """An installed RabbitMQ, else Debian's packages of it and of Erlang (31 MB to fetch, 54 MB unpacked)."""
    installed = newest(Path("/"), "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
    erl = shutil.which("erl")
    if installed and erl:
        return RabbitMQTools(installed, Path(erl).resolve().parent)
    if platform.system() != "Linux":
        raise CannotProvide("RabbitMQ", "not installed", "Install it, or name a broker in TALLY_AMQP__URL.")
    tree = TOOLS / "rabbitmq"
    debs.unpack(["rabbitmq-server"], tree)
    server = newest(tree, "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
    if server is None:
        raise CannotProvide("RabbitMQ", f"no start script in {tree}", "Run `make clean` and try again.")
    point_erlang_at(tree)
    return RabbitMQTools(server, tree / "usr/lib/erlang/bin")


def point_erlang_at(tree: Path) -> None:
    """Debian writes the root folder of Erlang into its start scripts, and they ignore the environment."""
    home = tree / "usr/lib/erlang"
    for script in (home / "bin/erl", *home.glob("erts-*/bin/erl")):
        text = script.read_text()
        changed = text.replace("ROOTDIR=/usr/lib/erlang", f"ROOTDIR={home}")
        if changed != text:
            script.write_text(changed)


def engine() -> EngineTools:
    """dockerd, containerd, runc and crun, installed or unpacked (63 MB to fetch, 255 MB unpacked)."""
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"
    needed = ("dockerd", "containerd", "runc", "iptables", "ip")
    if all(shutil.which(tool, path=path) for tool in needed):
        return EngineTools({"PATH": path}, shutil.which("crun", path=path))
    tree = TOOLS / "engine"
    debs.unpack(["docker.io", "crun", "iptables", "iproute2"], tree)
    choose_nft(tree / "usr/sbin")
    libraries = tree / "usr/lib" / multiarch()
    folders = [tree / folder for folder in ("usr/sbin", "usr/bin", "sbin", "bin")]
    env = {
        "PATH": ":".join([*map(str, folders), path]),
        "LD_LIBRARY_PATH": str(libraries),
        "XTABLES_LIBDIR": str(libraries / "xtables"),
    }
    return EngineTools(env, str(tree / "usr/bin/crun"))


def choose_nft(folder: Path) -> None:
    """Make the `iptables` links that Debian leaves to update-alternatives, which unpacking does not run."""
    for family in ("iptables", "ip6tables"):
        for suffix in IPTABLES:
            link = folder / f"{family}{suffix}"
            if not link.is_symlink() and (folder / f"{family}-nft{suffix}").exists():
                link.symlink_to(f"{family}-nft{suffix}")


def busybox() -> Path:
    """A statically linked busybox."""
    tree = TOOLS / "busybox"
    debs.unpack(["busybox-static"], tree)
    found = newest(tree, "*/busybox") or newest(tree, "usr/bin/busybox")
    if found is None:
        raise CannotProvide("busybox", f"none in {tree}", "Run `make clean` and try again.")
    return found


def amqp_publish() -> tuple[Path, dict[str, str]]:
    """`amqp-publish` of Debian's amqp-tools, and the environment it needs."""
    installed = shutil.which("amqp-publish")
    if installed:
        return Path(installed), {}
    tree = TOOLS / "amqp-tools"
    debs.unpack(["amqp-tools"], tree)
    return tree / "usr/bin/amqp-publish", {"LD_LIBRARY_PATH": str(tree / "usr/lib" / multiarch())}


def multiarch() -> str:
    asked = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    names = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
    return names.get(asked.stdout.strip(), f"{platform.machine()}-linux-gnu")


def newest(folder: Path, pattern: str) -> Path | None:
    return max(folder.glob(pattern), default=None)


def everything() -> None:
    """Fetch all that a bare machine lacks, so that later starts need no network."""
    made(TOOLS)
    for tool in (rabbitmq, engine, busybox, amqp_publish):
        tool()
