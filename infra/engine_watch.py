"""Looks at every container that an engine starts, from the engine's own feed, while it is there."""

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import docker
from docker.errors import APIError


@dataclass(slots=True)
class Sightings:
    """Container id -> what the engine said of it when it was inspected."""

    seen: dict[str, str] = field(default_factory=dict[str, str])
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, container: str, found: dict[str, Any]) -> None:
        with self._changed:
            self.seen[container] = f"{found['Name'].lstrip('/')} {found['State']['Status']} {found['Config']['Image']}"
            self._changed.notify_all()

    def wait_for(self, containers: set[str], seconds: float) -> set[str]:
        """Return when all of these were seen, at the latest after `seconds`; those that were not."""
        with self._changed:
            self._changed.wait_for(lambda: containers <= self.seen.keys(), seconds)
            return containers - self.seen.keys()


@contextmanager
def watching(host: str) -> Generator[Sightings]:
    """Inspect each container as the engine at `host` starts it, until the block ends."""
    client = docker.APIClient(base_url=host, version="auto", timeout=30)
    sightings = Sightings()
    feed = client.events(decode=True, filters={"type": "container", "event": "start"})

    def look() -> None:
        with suppress(OSError, ValueError):
            for event in feed:
                with suppress(APIError):
                    found = client.inspect_container(event["id"])  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
                    sightings.add(event["id"], cast("dict[str, Any]", found))

    thread = threading.Thread(target=look, name="engine watch", daemon=True)
    thread.start()
    try:
        yield sightings
    finally:
        feed.close()
        thread.join(5)
        client.close()
