"""Looks at every container that an engine starts, from the engine's own feed, while it is there."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import docker
from docker.errors import APIError

WANTED = {"type": "container", "event": ["start", "die", "destroy"]}


@dataclass(frozen=True, slots=True)
class ContainerStart:
    """The engine says that it started a container. `task`, `run`: its labels, empty on one that is not ours."""

    container: str
    task: str
    run: str


@dataclass(slots=True)
class Sightings:
    """`seen`: container id -> what the engine said of it when it was inspected. `starts`: each one, in order."""

    seen: dict[str, str] = field(default_factory=dict[str, str])
    starts: list[ContainerStart] = field(default_factory=list[ContainerStart])
    ended: set[str] = field(default_factory=set[str])
    removed: set[str] = field(default_factory=set[str])
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def note(self, event: dict[str, Any]) -> None:
        """Take in an event of the feed."""
        labels: dict[str, str] = event["Actor"]["Attributes"]
        with self._changed:
            match event["Action"]:
                case "start":
                    start = ContainerStart(event["id"], labels.get("tally.task", ""), labels.get("tally.run", ""))
                    self.starts.append(start)
                case "die":
                    self.ended.add(event["id"])
                case _:
                    self.removed.add(event["id"])
            self._changed.notify_all()

    def add(self, container: str, found: dict[str, Any]) -> None:
        with self._changed:
            self.seen[container] = f"{found['Name'].lstrip('/')} {found['State']['Status']} {found['Config']['Image']}"
            self._changed.notify_all()

    def starts_of(self, tasks: Collection[str]) -> Counter[str]:
        """Run id -> how often a container of it was started; runs of these tasks, by id."""
        with self._changed:
            return Counter(start.run for start in self.starts if start.task in tasks)

    def wait_for(self, containers: set[str], seconds: float) -> set[str]:
        """Return when all of these were seen, at the latest after `seconds`; those that were not."""
        return self._wait(lambda: containers - self.seen.keys(), seconds)

    def wait_ended(self, containers: set[str], seconds: float) -> set[str]:
        """The same until they run no longer."""
        return self._wait(lambda: containers - self.ended, seconds)

    def wait_removed(self, containers: set[str], seconds: float) -> set[str]:
        """The same until they are removed: the feed has an order, so nothing of them is still to come."""
        return self._wait(lambda: containers - self.removed, seconds)

    def _wait(self, missing: Callable[[], set[str]], seconds: float) -> set[str]:
        with self._changed:
            self._changed.wait_for(lambda: not missing(), seconds)
            return missing()


@contextmanager
def watching(host: str) -> Generator[Sightings]:
    """Until the block ends, note each start, end and removal of a container of the engine at `host`."""
    client = docker.APIClient(base_url=host, version="auto", timeout=30)
    sightings = Sightings()
    feed = client.events(since=int(time.time()), decode=True, filters=WANTED)

    def look() -> None:
        with suppress(OSError, ValueError):
            for event in feed:
                sightings.note(event)
                if event["Action"] != "start":
                    continue
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
