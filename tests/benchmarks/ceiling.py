"""The least that a Python system can do with the same libraries: command, four events and a state row, ack.

No decisions, no history worth the name, no worker. Up to 256 commands a transaction, one ack for all.
Run as a program it is the consumer: `python -m tests.benchmarks.ceiling DSN AMQP_URL`.
"""

import asyncio
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from typing import Any

import aio_pika
import orjson
import psycopg

from tests.benchmarks.measuring import IDLE_SECONDS

QUEUE, STORED = "bench.ceiling", "ceiling_stored"
KINDS = ("submitted", "scheduled", "started", "completed")
BATCH, WINDOW, TASKS_A_MESSAGE = 256, 500, 100
_EVENTS = (
    "INSERT INTO ceiling_events (originator_id, originator_version, topic, state) "
    "SELECT * FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::bytea[])"
)
_TASKS = "INSERT INTO ceiling_tasks (id, status, version) SELECT x, 'completed', 4 FROM unnest(%s::uuid[]) x"
_TABLES = """
DROP TABLE IF EXISTS ceiling_events, ceiling_tasks;
CREATE TABLE ceiling_events (originator_id uuid, originator_version int, topic text, state bytea,
  notification_id bigserial, PRIMARY KEY (originator_id, originator_version));
CREATE UNIQUE INDEX ON ceiling_events (notification_id);
CREATE TABLE ceiling_tasks (id uuid PRIMARY KEY, status text, version int);
"""


@dataclass(slots=True)
class Ceiling:
    """The baseline's tables, queue and consumer."""

    dsn: str
    amqp_url: str
    consumer: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Ceiling":
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(_TABLES)
        asyncio.run(_purge(self.amqp_url))
        command = [sys.executable, "-m", "tests.benchmarks.ceiling", self.dsn, self.amqp_url]
        self.consumer = subprocess.Popen(command)
        self.run(50)
        return self

    def __exit__(self, *_: object) -> None:
        if self.consumer is not None:
            self.consumer.terminate()
            self.consumer.wait()

    @property
    def pid(self) -> int:
        assert self.consumer is not None
        return self.consumer.pid

    def run(self, count: int, bulk: bool = False) -> tuple[float, float]:
        """Have `count` tasks done; seconds until all were accepted, and until all were stored."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            wanted = _stored(connection) + count
            began = time.monotonic()
            asyncio.run(_publish(self.amqp_url, count, TASKS_A_MESSAGE if bulk else 1))
            accepted = time.monotonic()
            while _stored(connection) < wanted:
                time.sleep(0.02)
            return accepted - began, time.monotonic() - began

    async def latencies(self, count: int) -> list[float]:
        """Milliseconds from publishing to the stored end, one task after the other."""
        took: list[float] = []
        async with (
            await aio_pika.connect(self.amqp_url) as connection,
            connection.channel() as channel,
            await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as ears,
        ):
            await ears.execute(f"LISTEN {STORED}")
            for _ in range(count):
                await asyncio.sleep(IDLE_SECONDS)
                began = time.monotonic()
                await channel.default_exchange.publish(_message(1), QUEUE)
                async for _ in ears.notifies(timeout=30, stop_after=1):
                    pass
                took.append((time.monotonic() - began) * 1000)
        return took


def _stored(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT count(*) FROM ceiling_tasks").fetchone()
    assert row is not None
    return int(row[0])


async def _purge(url: str) -> None:
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        queue = await channel.declare_queue(QUEUE, durable=True)
        await queue.purge()


async def _publish(url: str, count: int, many: int) -> None:
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        pending: set[asyncio.Future[Any]] = set()
        for _ in range(count // many):
            if len(pending) >= WINDOW:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            pending.add(asyncio.ensure_future(channel.default_exchange.publish(_message(many), QUEUE)))
        await asyncio.wait(pending)


def _message(many: int) -> aio_pika.Message:
    tasks = [str(uuid.uuid4()) for _ in range(many)]
    body = orjson.dumps({"command": "submit", "tasks": tasks, "image": "busybox", "cmd": ["true"]})
    return aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)


def _rows(tasks: list[str]) -> tuple[list[str], list[int], list[str], list[bytes]]:
    each = [(task, number, kind) for task in tasks for number, kind in enumerate(KINDS, 1)]
    states = [
        orjson.dumps({"task": task, "type": kind, "at": time.time(), "image": "busybox", "cmd": ["true"]})
        for task, _, kind in each
    ]
    return [t for t, _, _ in each], [n for _, n, _ in each], [f"tasks:{k}" for _, _, k in each], states


async def _consume(dsn: str, url: str) -> None:
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        await channel.set_qos(prefetch_count=1000)
        queue = await channel.declare_queue(QUEUE, durable=True)
        inbox = asyncio.Queue[Any]()
        await queue.consume(inbox.put)
        async with await psycopg.AsyncConnection.connect(dsn) as database:
            while True:
                messages = [await inbox.get()]
                while len(messages) < BATCH and not inbox.empty():
                    messages.append(inbox.get_nowait())
                tasks = [task for message in messages for task in orjson.loads(message.body)["tasks"]]
                await database.execute(_EVENTS, _rows(tasks), prepare=True)
                await database.execute(_TASKS, (tasks,), prepare=True)
                if len(messages) == 1:
                    await database.execute(f"NOTIFY {STORED}")
                await database.commit()
                await messages[-1].ack(multiple=True)


if __name__ == "__main__":
    import uvloop

    uvloop.run(_consume(sys.argv[1], sys.argv[2]))
