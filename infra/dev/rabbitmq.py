"""A private RabbitMQ node: own ports on 127.0.0.1, own folder, own accounts, own epmd."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.dev import broker_users, fetch
from infra.dev.broker_users import ADMIN, CLIENT, PLATFORM, WORKER
from infra.dev.children import Child, Kept, Plan, accepts, keep, on_free_ports, wait_until
from infra.dev.fetch import RabbitMQTools
from infra.dev.folders import made

VHOST = "tally"
HELLO = b"AMQP\x00\x00\x09\x01"
SCHEDULERS = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
management.rates_mode = none
load_definitions = {definitions}
default_vhost = {vhost}
consumer_timeout = 7200000
log.console = true
log.console.level = warning
log.file = false
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 200MB
raft.wal_max_size_bytes = 67108864
"""


@dataclass(frozen=True, slots=True)
class Ports:
    amqp: int
    management: int
    distribution: int
    epmd: int


@dataclass(slots=True)
class Running:
    """A running node; `pid` is the Erlang machine's, a child of RabbitMQ's start script."""

    ports: Ports
    passwords: dict[str, str]
    pid: int
    kept: Kept

    def amqp_url(self, user: str = PLATFORM, vhost: str = VHOST) -> str:
        return f"amqp://{user}:{self.passwords[user]}@127.0.0.1:{self.ports.amqp}/{vhost}"

    def urls(self) -> dict[str, str]:
        """AMQP URL of each account but the administrator's, in the virtual host `tally`."""
        return {user: self.amqp_url(user) for user in (PLATFORM, WORKER, CLIENT)}

    @property
    def management_url(self) -> str:
        """Base of the management API with the administrator's account in it."""
        return f"http://{ADMIN}:{self.passwords[ADMIN]}@127.0.0.1:{self.ports.management}"

    def stop(self) -> None:
        """Orderly stop; takes 6 s because the management plugin waits 5."""
        self.kept.stop()

    def kill(self) -> None:
        """End it at once: for brokers whose data nobody needs again."""
        os.kill(self.pid, 9)
        self.kept.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def start(folder: Path, ports: Ports | None = None, owned: bool = True) -> Running:
    """Start a node on `folder`, which keeps its queues from one start to the next. Takes about 9 s."""
    tools = fetch.rabbitmq()
    folder = made(folder.resolve(), 0o700)
    passwords = broker_users.passwords(folder / "passwords.json")

    def on(ports: Ports) -> Running:
        configure(folder, ports, passwords)
        kept = keep(Plan([epmd(tools, folder, ports), node(tools, folder, ports)]), owned)
        wait_until(lambda: accepts(ports.amqp, HELLO, b"\x01"), kept, "RabbitMQ", seconds=120)
        wait_until(lambda: accepts(ports.management), kept, "RabbitMQ's management API", seconds=30)
        return Running(ports, passwords, int((folder / "node.pid").read_text()), kept)

    return on(ports) if ports else on_free_ports(4, lambda free: on(Ports(*free)))


def configure(folder: Path, ports: Ports, passwords: dict[str, str]) -> None:
    definitions = folder / "definitions.json"
    definitions.touch(mode=0o600)
    definitions.write_text(json.dumps(broker_users.definitions(passwords, VHOST)))
    configuration = CONFIGURATION.format(
        amqp=ports.amqp, management=ports.management, definitions=definitions, vhost=VHOST
    )
    (folder / "rabbitmq.conf").write_text(configuration)
    (folder / "enabled_plugins").write_text("[rabbitmq_management].\n")


def epmd(tools: RabbitMQTools, folder: Path, ports: Ports) -> Child:
    """Started by us: the one RabbitMQ would start is a daemon that outlives it."""
    command = [
        str(tools.erlang / "epmd"),
        *("-port", str(ports.epmd), "-address", "127.0.0.1", "-relaxed_command_check"),
    ]
    return Child("epmd", command, environment(tools, folder, ports), folder / "epmd.log", grace=1)


def node(tools: RabbitMQTools, folder: Path, ports: Ports) -> Child:
    env = environment(tools, folder, ports)
    return Child("rabbitmq", [str(tools.server)], env, folder / "rabbitmq.log", grace=15)


def environment(tools: RabbitMQTools, folder: Path, ports: Ports) -> dict[str, str]:
    return {
        "PATH": f"{tools.erlang}:{fetch.SYSTEM_PATH}",
        "LANG": "C.UTF-8",
        "HOME": str(folder),  # holds .erlang.cookie
        "ERL_EPMD_PORT": str(ports.epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "tally@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(ports.amqp),
        "RABBITMQ_DIST_PORT": str(ports.distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(folder / "node.pid"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": SCHEDULERS,
    }
