"""What a task may do to its host: as the engine was told, and as it looks from inside."""

import io
import tarfile
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import docker
import pytest

from adapters.docker_client import connect
from adapters.docker_config import Policy
from adapters.docker_engine import DockerEngine
from domain.ports.running import Found
from infra.dev import engine_api, images
from tests.support import runs

pytestmark = pytest.mark.integration
LOOK = """
grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
id -u; id -g
touch /etc/x 2>/dev/null && echo root-is-writable
touch /tmp/x && echo tmp-is-writable
cp /bin/busybox /tmp/b && chmod +x /tmp/b && /tmp/b true 2>/dev/null && echo tmp-is-executable
mount -t tmpfs x /tmp 2>/dev/null && echo can-mount
test -S /var/run/docker.sock && echo engine-socket
ls /sys/class/net
ulimit -n
"""


@asynccontextmanager
async def ran(
    host: str, command: tuple[str, ...], image: str = runs.BUSYBOX
) -> AsyncGenerator[tuple[DockerEngine, Found, list[str]]]:
    """A container that has ended, and the lines it printed."""
    async with connect(host, Policy(), runs=1) as engine:
        plan = runs.planned(command, worker=f"test-{uuid4()}", run=runs.fresh_run(), image=image)
        found = await engine.create(plan)
        await engine.start(found.id, runs.nothing_against_it)
        printed = b"".join([piece.data async for piece in engine.output(found.id)])
        yield engine, found, printed.decode().split("\n")
        await engine.ended(found.id)
        await engine.remove(found.id)


async def test_from_inside_nothing_is_left_to_abuse(docker_host: str) -> None:
    async with ran(docker_host, ("sh", "-c", LOOK)) as (_, _, lines):
        status = dict(line.split(":\t") for line in lines if ":\t" in line)
        rest = [line for line in lines if line and ":\t" not in line]
    nothing = "0" * 16
    assert status == {"CapEff": nothing, "CapBnd": nothing, "NoNewPrivs": "1", "Seccomp": "2"}
    assert rest == ["65534", "65534", "tmp-is-writable", "lo", "1024"]


@pytest.fixture
def bare_image(docker_host: str) -> Generator[str]:
    """An image with programs, and no list of users or groups."""
    name, full, bare = f"tallyport/bare:{uuid4()}", io.BytesIO(images.busybox()), io.BytesIO()
    with tarfile.open(fileobj=full) as source, tarfile.open(fileobj=bare, mode="w") as target:
        for member in source:
            if not member.name.startswith("etc/"):
                target.addfile(member, source.extractfile(member) if member.isreg() else None)
    engine_api.import_image(docker_host, name, bare.getvalue(), [images.LABEL])
    yield name
    engine_api.remove_image(docker_host, name)


async def test_where_no_file_names_a_user_s_group_it_is_not_root_s(docker_host: str, bare_image: str) -> None:
    async with ran(docker_host, ("/bin/sh", "-c", "/bin/id -u; /bin/id -g"), bare_image) as (_, _, lines):
        assert lines == ["65534", "65534", ""]


async def test_the_engine_was_told_all_of_it(docker_host: str) -> None:
    async with ran(docker_host, runs.TRUE) as (_, found, _):
        told = inspected(docker_host, lambda client: client.inspect_container(found.id))
    config, host = told["Config"], told["HostConfig"]
    assert (config["User"], config["StopSignal"], config["Tty"]) == ("65534:65534", "SIGTERM", False)
    assert {
        "NetworkMode": "none",
        "CapDrop": ["ALL"],
        "CapAdd": None,
        "SecurityOpt": ["no-new-privileges:true"],
        "ReadonlyRootfs": True,
        "Privileged": False,
        "Memory": 512 << 20,
        "MemorySwap": 512 << 20,
        "NanoCpus": 1_000_000_000,
        "PidsLimit": 64,
        "IpcMode": "private",
        "PidMode": "",
        "Init": False,
        "Binds": None,
        "AutoRemove": False,
    }.items() <= host.items()
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["LogConfig"] == {"Type": "local", "Config": {"max-size": "10m", "max-file": "3"}}
    assert {limit["Name"]: limit["Hard"] for limit in host["Ulimits"]} == {"nofile": 1024, "fsize": 1 << 30, "core": 0}
    assert "noexec" in host["Tmpfs"]["/tmp"]


async def test_a_fork_bomb_stays_in_its_bounds(docker_host: str) -> None:
    bomb = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); sleep 5 & done 2>/dev/null; echo reached $i"
    async with ran(docker_host, ("sh", "-c", bomb)) as (engine, found, lines):
        ended = await engine.ended(found.id)
    assert ended is not None
    assert "reached 200" not in lines


def inspected(host: str, ask: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    client = docker.APIClient(base_url=host)
    try:
        return ask(client)
    finally:
        client.close()
