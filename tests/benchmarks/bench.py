"""The platform under measurement: its own database and processes, tasks in, counts and times out."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from adapters import broker
from domain.commands import SubmitTask, SubmitTasks
from domain.events import ENDS
from domain.messages import Message
from domain.ports.broker import Outgoing
from domain.specs import Container, TaskSpec
from infra.dev import engine_api
from infra.dev.stack import Stack
from infra.system import Addresses, System, fresh_database
from infra.topology import COMMANDS
from tests.benchmarks.measuring import IDLE_SECONDS, cpu_seconds, wait_until

NOOP = TaskSpec(executor="noop")
_MORE = (
    "SELECT count(*) FILTER (WHERE topic IN ('task.succeeded.v1', 'task.failed.v1')), "
    "count(*) FILTER (WHERE topic = 'task.submitted.v1'), max(notification_id) FROM events WHERE notification_id > %s"
)
MANY = 1000


@dataclass(slots=True)
class Bench:
    """A running platform. `servers`: pids of PostgreSQL and RabbitMQ, whose CPU time counts as well."""

    system: System
    servers: Sequence[int]
    connection: psycopg.Connection[Any]
    ended: int = 0
    submitted: int = 0
    _read: int = 0

    @classmethod
    def over(cls, stack: Stack, folder: Path, slots: int, *names: str) -> "Bench":
        """Start the processes `names` on a new database; the worker has `slots`."""
        dsn = fresh_database(stack.postgres.dsn, "bench")
        addresses = Addresses(dsn, stack.rabbitmq.urls(), stack.engine.host)
        system = System(addresses, folder, {"TALLY_WORKER__SLOTS": str(slots), "TALLY_LOG__LEVEL": "warning"})
        system.prepare()
        system.start(*names)
        system.wait_ready()
        watching = psycopg.connect(dsn, autocommit=True, options="-c enable_seqscan=off")
        return cls(system, (stack.postgres.pid, stack.rabbitmq.pid), watching)

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.system.stop()

    def cpu(self) -> float:
        """CPU seconds of all processes of the platform, of this client and of both servers."""
        children = [child.pid for child in self.system.children.values()]
        return cpu_seconds([*children, *self.servers]) + time.process_time()

    def count(self, query: str) -> int:
        row = self.connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0] or 0)

    def submit(self, specs: Sequence[TaskSpec], many: bool = False) -> None:
        """Publish each task in a message of its own, or `many` to a message; returns when all are confirmed."""
        asyncio.run(self._publish(_messages(specs, many)))

    def send(self, command: Message) -> None:
        """Publish one command; returns when it is confirmed."""
        asyncio.run(self._publish([_message(command)]))

    def look(self) -> None:
        """Count on from where the last look ended: watching must cost next to nothing."""
        row = self.connection.execute(_MORE, (self._read,)).fetchone()
        assert row is not None
        self.ended, self.submitted, self._read = self.ended + row[0], self.submitted + row[1], row[2] or self._read

    def wait_ended(self, count: int, seconds: float = 120) -> None:
        """Until this many tasks in all have ended."""
        wait_until(lambda: self._at_least("ended", count), f"{count} tasks ended", seconds)

    def wait_submitted(self, count: int, seconds: float = 120) -> None:
        """Until this many tasks in all have been accepted."""
        wait_until(lambda: self._at_least("submitted", count), f"{count} tasks accepted", seconds)

    def wait_removed(self, seconds: float = 60) -> float:
        """Until the engine has no container of this platform any more; seconds it took."""
        began = time.monotonic()
        row = self.connection.execute("SELECT id FROM installation").fetchone()
        assert row is not None
        query = urlencode({"all": "true", "filters": json.dumps({"label": [f"tally.installation={row[0]}"]})})
        host = self.system.addresses.docker_host or ""
        path = f"/containers/json?{query}"
        wait_until(lambda: not engine_api.call(host, "GET", path)[1], "every container removed", seconds)
        return time.monotonic() - began

    def _at_least(self, what: str, count: int) -> bool:
        self.look()
        return int(getattr(self, what)) >= count

    def wait_caught_up(self, name: str, seconds: float = 60) -> float:
        """Until the follower `name` has dealt with the whole log; seconds it took."""
        began = time.monotonic()
        behind = (
            "SELECT coalesce(max(notification_id), 0) - (SELECT position FROM consumers WHERE name = "
            f"'{name}') FROM events"
        )
        wait_until(lambda: self.count(behind) <= 0, f"{name} caught up", seconds)
        return time.monotonic() - began

    async def _publish(self, messages: Sequence[Outgoing]) -> None:
        async with broker.connect(self.system.addresses.amqp["client"], "bench") as amqp:
            await amqp.publisher().publish(messages)

    async def latencies(self, spec: TaskSpec, count: int) -> list[float]:
        """Milliseconds from publishing to the stored end, one task after the other, by the log's own clock."""
        took: list[float] = []
        async with (
            broker.connect(self.system.addresses.amqp["client"], "bench") as amqp,
            await psycopg.AsyncConnection.connect(self.system.addresses.database, autocommit=True) as ears,
        ):
            await ears.execute("LISTEN tally_log")
            publisher = amqp.publisher()
            await publisher.publish([])
            for _ in range(count):
                await asyncio.sleep(IDLE_SECONDS)
                (message,) = _messages([spec], many=False)
                sent = time.time()
                await publisher.publish([message])
                took.append((await _ended_at(ears, message.id) - sent) * 1000)
        return took


def container(image: str) -> TaskSpec:
    """The task that `docker_raw` runs."""
    return TaskSpec(container=Container(image=image, command=("echo", "hi")))


def _messages(specs: Sequence[TaskSpec], many: bool) -> list[Outgoing]:
    if many:
        parts = [specs[i : i + MANY] for i in range(0, len(specs), MANY)]
        return [_message(SubmitTasks(tasks=tuple(part))) for part in parts]
    return [_message(SubmitTask(**dict(spec))) for spec in specs]


def _message(command: Message) -> Outgoing:
    key = f"{command.TYPE.rpartition('.v')[0]}.default"
    body = command.model_dump_json(exclude_none=True, exclude_defaults=True).encode()
    return Outgoing(COMMANDS, key, command.TYPE, uuid7(), body)


async def _ended_at(ears: psycopg.AsyncConnection[Any], command_id: UUID) -> float:
    """When the task of a command ended, in seconds since 1970; looked for when a task has ended."""
    query = "SELECT extract(epoch FROM recorded_at) FROM events WHERE correlation_id = %s AND topic = ANY(%s)"
    async with asyncio.timeout(60):
        while True:
            ended = False
            async for notice in ears.notifies(timeout=1.0, stop_after=1):
                ended = ended or not ENDS.isdisjoint(notice.payload.split())
            if ended:
                cursor = await ears.execute(query, (str(command_id), list(ENDS)))
                if row := await cursor.fetchone():
                    return float(row[0])
