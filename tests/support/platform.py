"""A whole platform for tests: real processes over real servers, watched through its log."""

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pika
import psycopg
from uuid_utils.compat import uuid7

from infra.system import CONSUMERS, Addresses, System
from tests.support import database
from tests.support.broker import Management, vhost_urls
from tests.support.waiting import until

ALL = ("issuer", "api", *CONSUMERS, "worker")
BUSYBOX = "tallyport/busybox:dev"
ENDS = ("task.succeeded.v1", "task.failed.v1", "task.cancelled.v1", "task.skipped.v1")


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the log."""

    position: int
    stream: UUID
    version: int
    type: str
    data: dict[str, Any]
    actor: str
    traceparent: str | None


@dataclass(slots=True)
class Platform:
    """Running processes, and a look into their log."""

    system: System
    connection: psycopg.Connection[Any]

    def publish(self, type: str, data: Mapping[str, Any], id: UUID | None = None, **properties: Any) -> UUID:
        """Publish a command as a user would, with pika: persistent, mandatory, confirmed. Its id."""
        command_id = id or uuid7()
        headers = properties.pop("headers", {})
        url = pika.URLParameters(self.system.addresses.amqp["client"])
        with pika.BlockingConnection(url) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish(
                "task.commands",
                f"{type.rpartition('.v')[0]}.{data.get('namespace', 'default')}",
                json.dumps(data).encode(),
                pika.BasicProperties(
                    message_id=str(command_id),
                    type=type,
                    content_type="application/json",
                    delivery_mode=2,
                    headers=headers,
                    **properties,
                ),
                mandatory=True,
            )
        return command_id

    def ask(self, type: str, data: Mapping[str, Any], id: UUID | None = None, seconds: float = 20) -> dict[str, Any]:
        """Publish a command with `reply_to` set, by pika's direct reply-to; the reply."""
        replies: list[bytes] = []

        def arrived(*message: Any) -> None:
            replies.append(message[3])

        url = pika.URLParameters(self.system.addresses.amqp["client"])
        with pika.BlockingConnection(url) as connection:
            channel = connection.channel()
            channel.basic_consume("amq.rabbitmq.reply-to", arrived, auto_ack=True)
            channel.basic_publish(
                "task.commands",
                f"{type.rpartition('.v')[0]}.{data.get('namespace', 'default')}",
                json.dumps(data).encode(),
                pika.BasicProperties(
                    message_id=str(id or uuid7()),
                    type=type,
                    content_type="application/json",
                    reply_to="amq.rabbitmq.reply-to",
                ),
            )
            deadline = time.monotonic() + seconds
            while not replies and time.monotonic() < deadline:
                connection.process_data_events(0.1)  # pyright: ignore[reportArgumentType]
        assert replies, f"no reply to {type} within {seconds:g} s"
        reply: dict[str, Any] = json.loads(replies[0])
        return reply

    def events(self, task: str | None = None) -> list[Event]:
        """The log in order, or the stream of the task that was given this id."""
        where = "WHERE originator_id = (SELECT stream FROM names WHERE kind = 'task' AND name = %s)" if task else ""
        rows = self.connection.execute(
            "SELECT notification_id, originator_id, originator_version, topic, convert_from(state, 'UTF8'), actor, "
            f"traceparent FROM events {where} ORDER BY notification_id".encode(),
            (task,) if task else (),
        )
        return [Event(row[0], row[1], row[2], row[3], json.loads(row[4]), row[5], row[6]) for row in rows]

    def types(self, task: str) -> list[str]:
        """The history of a task in short: `submitted`, `queued`, …"""
        return [event.type.split(".")[1] for event in self.events(task)]

    def wait_for(self, type: str, task: str, seconds: float = 60) -> Event:
        """The first event of this type of the task."""
        found: list[Event] = []

        def there() -> bool:
            found[:] = [event for event in self.events(task) if event.type == type]
            return bool(found)

        self._until(there, f"{type} of {task}", seconds)
        return found[0]

    def wait_ended(self, *tasks: str, seconds: float = 90) -> dict[str, str]:
        """How these tasks ended: `succeeded`, `failed`, …"""
        ends: dict[str, str] = {}

        def all_ended() -> bool:
            for task in tasks:
                if last := [event for event in self.events(task) if event.type in ENDS]:
                    ends[task] = last[-1].type.split(".")[1]
            return len(ends) == len(tasks)

        self._until(all_ended, f"the end of {', '.join(tasks)}", seconds)
        return ends

    def wait_caught_up(self, *followers: str, seconds: float = 30) -> None:
        """Until these followers have dealt with all that is in the log now."""
        row = self.connection.execute("SELECT coalesce(max(notification_id), 0) FROM events").fetchone()
        assert row is not None
        query = "SELECT count(*) FROM consumers WHERE name = ANY(%s) AND position >= %s"

        def there() -> bool:
            found = self.connection.execute(query, (list(followers), row[0])).fetchone()
            return found is not None and found[0] == len(followers)

        self._until(there, f"{', '.join(followers)} at position {row[0]}", seconds)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What PostgreSQL answers to `query`, as the owner."""
        return self.connection.execute(query.encode(), parameters).fetchall()

    def _until(self, true: Any, what: str, seconds: float) -> None:
        try:
            until(true, what, seconds)
        except AssertionError as late:
            logs = "\n".join(f"--- {name}\n{self.system.log(name, 1500)}" for name in self.system.children)
            raise AssertionError(f"{late}\n{self._tail()}\n{logs}") from None

    def _tail(self) -> str:
        return "\n".join(f"{e.position} {e.stream} {e.version} {e.type} {e.actor}" for e in self.events()[-30:])


MakePlatform = Callable[..., AbstractContextManager[Platform]]
"""The fixture `make_platform`: takes what `platform` takes from `processes` on."""


@contextmanager
def platform(
    servers: Any, template: str, management: Management, folder: Path, processes: Sequence[str] = ALL, **extra: str
) -> Generator[Platform]:
    """A platform on a database, a virtual host and containers of its own, gone at the end with all that it made."""
    name = f"e2e-{uuid7().hex[-12:]}"
    management.add_vhost(name)
    urls = vhost_urls(name, servers.broker()[0])
    engine = servers.engine()[0] if any(one.startswith(("worker", "all")) for one in processes) else None
    with database.copy_of(servers.postgres(), template) as copy:
        accounts = {"tally": urls.platform, "worker": urls.worker, "client": urls.client}
        environment = {"TALLY_LOG__FORMAT": "json", "TALLY_DATABASE__ALLOW_UNSAFE": "true", **extra}
        system = System(Addresses(copy.owner, accounts, engine), folder, environment)
        system.prepare()
        try:
            with system, psycopg.connect(copy.owner, autocommit=True) as connection:
                system.start(*processes)
                system.wait_ready()
                yield Platform(system, connection)
        finally:
            management.delete_vhost(name)
            if engine is not None:
                remove_containers(engine, copy.owner)


def remove_containers(engine: str, dsn: str) -> None:
    """Remove what the installation of this database left on the engine."""
    from infra.dev import engine_api

    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT id FROM installation").fetchone()
    if row is not None:
        engine_api.remove_labelled(engine, f"tally.installation={row[0]}")
