"""`dev.json`: where a running `tally dev` is. Written by it for its owner alone, and gone when it ends."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.dev.children import start_time

NAME = "dev.json"


@dataclass(frozen=True, slots=True)
class DevSystem:
    """Addresses and the credentials of its `admin`. `pid` and `started` name the process that keeps it."""

    pid: int
    started: int
    api_url: str
    issuer_url: str
    client_id: str
    client_secret: str
    amqp_url: str
    database_url: str
    database_owner_url: str
    management_url: str
    metrics_url: str = ""
    docker_host: str | None = None

    @property
    def running(self) -> bool:
        return start_time(self.pid) == self.started

    def write(self, folder: Path) -> Path:
        """Make the file of `folder`."""
        path = folder / NAME
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self), indent=1))
        return path


def running_in(folder: Path) -> DevSystem | None:
    """The system whose file is in `folder`, if it still runs."""
    try:
        found = DevSystem(**json.loads((folder / NAME).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.running else None
