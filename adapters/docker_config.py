"""What the Docker Engine API is told of a container, and what a container's labels tell back. No input or output."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from domain.errors import CannotRun
from domain.ports.running import Planned, RunLabels
from domain.specs import INPUT_FILE, memory_bytes

PREFIX = "tally."
UNPRIVILEGED = "65534:65534"
"""The group too: where an image does not name this user, its group would be root's."""
SCRATCH = PurePosixPath("/tmp")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container gets when its spec is silent, and what no spec can change. Sizes are bytes.

    `file_size`: of any one file it writes. `scratch`: of /tmp, which counts as its memory. `log_size` x `log_files` is
    what the engine keeps of its output.
    """

    cpus: float = 1.0
    memory: int = 512 << 20
    pids: int = 64
    open_files: int = 1024
    file_size: int = 1 << 30
    scratch: int = 64 << 20
    log_size: str = "10m"
    log_files: int = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """What this worker lets run. Image patterns have `*` and `?`; network `none` needs no leave."""

    images: tuple[str, ...] = ("*",)
    networks: tuple[str, ...] = ()
    limits: Limits = Limits()

    def check_image(self, image: str) -> None:
        """Raises CannotRun image-not-allowed."""
        if not any(fnmatchcase(image, pattern) for pattern in self.images):
            raise CannotRun("image-not-allowed", f"image {image}: this worker runs {', '.join(self.images)}")

    def check_network(self, network: str) -> None:
        """Raises CannotRun network-not-allowed."""
        if network != "none" and network not in self.networks:
            allowed = ", ".join(("none", *self.networks))
            raise CannotRun("network-not-allowed", f"network {network}: this worker allows {allowed}")


def name_of(run: UUID) -> str:
    """The container's name."""
    return f"tally-{run}"


def to_create(planned: Planned, limits: Limits) -> dict[str, Any]:
    """The body of `POST /containers/create`."""
    spec = planned.container
    env = {**spec.env, **planned.env}
    body: dict[str, Any] = {
        "Image": spec.image,
        "User": spec.user or UNPRIVILEGED,
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Labels": to_labels(planned.labels),
        "StopSignal": "SIGTERM",
        "HostConfig": _host_config(planned, limits),
    }
    if spec.command is not None:
        body["Cmd"] = list(spec.command)
    if spec.workdir is not None:
        body["WorkingDir"] = spec.workdir
    files = {"result": spec.result, "artifacts": spec.artifacts, "input": None if planned.input is None else INPUT_FILE}
    if folders := {_folder_of(what, path) for what, path in files.items() if path is not None}:
        body["Volumes"] = {folder: {} for folder in sorted(folders)}
    return body


def _folder_of(what: str, path: str) -> str:
    """A volume: the root cannot be written, and what is left there can be read when the container has ended.

    Raises CannotRun container-refused.
    """
    folder = PurePosixPath(path).parent
    if SCRATCH in (folder, *folder.parents):
        raise CannotRun("container-refused", f"{what} {path}: {SCRATCH} ends with the container; name another folder")
    return str(folder)


def _host_config(planned: Planned, limits: Limits) -> dict[str, Any]:
    """The hardening: what the task may do to the host, and to its neighbours, however hostile it is."""
    spec = planned.container
    memory = limits.memory if spec.memory is None else memory_bytes(spec.memory)
    return {
        "NetworkMode": spec.network,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "ReadonlyRootfs": True,
        "Tmpfs": {str(SCRATCH): f"rw,noexec,nosuid,nodev,size={limits.scratch},mode=1777"},
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": int((spec.cpus or limits.cpus) * 1_000_000_000),
        "PidsLimit": spec.pids or limits.pids,
        "Ulimits": [
            {"Name": "nofile", "Soft": limits.open_files, "Hard": limits.open_files},
            {"Name": "fsize", "Soft": limits.file_size, "Hard": limits.file_size},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "IpcMode": "private",
        "Init": False,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {
            "Type": "local",
            "Config": {"max-size": limits.log_size, "max-file": str(limits.log_files)},
        },
    }


def to_labels(labels: RunLabels) -> dict[str, str]:
    """`tally.<field>`, absent fields left out."""
    given = {**asdict(labels), "stop": labels.stop.total_seconds()}
    return {PREFIX + name: _text(value) for name, value in given.items() if value is not None}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str).strip('"')


def from_labels(labels: Mapping[str, str]) -> RunLabels | None:
    """What `to_labels` wrote; None for a container that is not ours."""
    own = {f.name: labels[PREFIX + f.name] for f in fields(RunLabels) if PREFIX + f.name in labels}
    try:
        return RunLabels(
            installation=UUID(own.pop("installation")),
            worker=own.pop("worker"),
            generation=int(own.pop("generation")),
            namespace=own.pop("namespace"),
            task=UUID(own.pop("task")),
            run=UUID(own.pop("run")),
            fence=int(own.pop("fence")),
            name=own.pop("name"),
            stop=timedelta(seconds=float(own.pop("stop"))),
            **own,
        )
    except (KeyError, ValueError):
        return None
