"""The broker's accounts in development and tests: who may write what, enforced by RabbitMQ itself.

| account       | may                                                                                   |
|---------------|---------------------------------------------------------------------------------------|
| `tally-admin` | use the management API: add virtual hosts, grant permissions                           |
| `tally`       | everything inside a virtual host: the platform's processes                             |
| `worker`      | write task.reports, task.beats, task.logs; own and read its queue task.work.<worker>    |
| `client`      | write task.commands; bind own queues to task.events; read replies                       |

There is no `guest`.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADMIN, PLATFORM, WORKER, CLIENT = "tally-admin", "tally", "worker", "client"
NAMES = (ADMIN, PLATFORM, WORKER, CLIENT)

OWN_QUEUES = r"amq[._].*|client\..*"  # server-named, aio-pika's exclusive ones, and the client's own


@dataclass(frozen=True, slots=True)
class Permission:
    """Regular expressions over the names of exchanges and queues, as RabbitMQ matches them."""

    configure: str
    write: str
    read: str


ALL = Permission(".*", ".*", ".*")
PERMISSIONS = {
    ADMIN: ALL,
    PLATFORM: ALL,
    WORKER: Permission(
        configure=r"^task\.work\..+$",
        write=r"^(task\.reports|task\.beats|task\.logs|task\.work\..+)$",
        read=r"^(task\.work|task\.work\..+)$",
    ),
    CLIENT: Permission(
        configure=rf"^({OWN_QUEUES})$",
        write=rf"^(task\.commands|{OWN_QUEUES})$",
        read=rf"^(task\.events|task\.events\.log|{OWN_QUEUES})$",
    ),
}


def passwords(file: Path) -> dict[str, str]:
    """The accounts' passwords, made at random at the first call and kept in `file`, readable by its owner."""
    if file.exists():
        kept: dict[str, str] = json.loads(file.read_text())
        return kept
    made = {name: secrets.token_urlsafe(18) for name in NAMES}
    file.touch(mode=0o600)
    file.write_text(json.dumps(made))
    return made


def definitions(passwords: Mapping[str, str], vhost: str) -> dict[str, Any]:
    """What RabbitMQ loads when it boots."""
    return {
        "users": [
            {
                "name": name,
                "password_hash": password_hash(password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": ["administrator"] if name == ADMIN else [],
            }
            for name, password in passwords.items()
        ],
        "vhosts": [{"name": vhost}],
        "permissions": [
            {
                "user": name,
                "vhost": vhost,
                "configure": allowed.configure,
                "write": allowed.write,
                "read": allowed.read,
            }
            for name, allowed in PERMISSIONS.items()
        ],
    }


def password_hash(password: str) -> str:
    """Four bytes of salt and the SHA-256 of salt and password (RabbitMQ docs, "Passwords")."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
