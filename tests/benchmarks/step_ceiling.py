"""The least that a step of a chain costs on this machine with the same servers, libraries and ways.

A worker reports through a quorum queue; one process commits what was reported; a second one hears of it, reads it,
commits what is next, and sends that to the worker. No decisions, rows, views, beats or fences; nobody else looks on.
Run as a program it is one of the three: `python -m tests.benchmarks.step_ceiling worker DSN AMQP_URL`.
"""

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aio_pika
import orjson
import psycopg

WORK, REPORTS = "bench.step.work", "bench.step.reports"
HEARD, DONE = "step_heard", "step_done"
QUORUM: Any = {"x-queue-type": "quorum"}
_TABLES = """
DROP TABLE IF EXISTS step_events, step_leases, step_position;
CREATE TABLE step_events (stream uuid, version int, topic text, state bytea, position bigserial,
  PRIMARY KEY (stream, version));
CREATE UNIQUE INDEX ON step_events (position);
CREATE TABLE step_leases (task uuid PRIMARY KEY);
CREATE TABLE step_position AS SELECT 0::bigint AS position;
"""
_EVENTS = (
    "INSERT INTO step_events (stream, version, topic, state) "
    "SELECT * FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::bytea[])"
)
_NEWS = "SELECT topic, state, position FROM step_events WHERE position > %s ORDER BY position LIMIT 100"


@dataclass(slots=True)
class StepCeiling:
    """The tables, the queues and the three processes."""

    dsn: str
    amqp_url: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list["subprocess.Popen[bytes]"])

    def __enter__(self) -> "StepCeiling":
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(_TABLES)
        asyncio.run(_declare(self.amqp_url))
        for part in PARTS:
            command = [sys.executable, "-m", "tests.benchmarks.step_ceiling", part, self.dsn, self.amqp_url]
            self.processes.append(subprocess.Popen(command))
        time.sleep(2)  # a process that does not listen yet misses the notice that begins a chain
        self.run(5)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.terminate()
            process.wait()

    def run(self, steps: int) -> float:
        """Milliseconds a step of a chain of so many."""
        with psycopg.connect(self.dsn, autocommit=True) as ears:
            ears.execute(f"LISTEN {DONE}".encode())
            began = time.monotonic()
            task, state = _task(steps)
            ears.execute(_EVENTS, ([task], [4], ["succeeded"], [state]))
            ears.execute(f"NOTIFY {HEARD}".encode())
            assert list(ears.notifies(timeout=60, stop_after=1)), "the chain has ended"
            return (time.monotonic() - began) / steps * 1000


def _task(left: int) -> tuple[str, bytes]:
    task = str(uuid4())
    return task, orjson.dumps({"task": task, "left": left})


async def _declare(url: str) -> None:
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        for name, arguments in ((WORK, None), (REPORTS, QUORUM)):
            await (await channel.declare_queue(name, durable=True, arguments=arguments)).purge()


async def _worker(dsn: str, url: str) -> None:
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        work = await channel.get_queue(WORK, ensure=False)
        async with work.iterator(no_ack=True) as offers:
            async for offer in offers:
                report = aio_pika.Message(offer.body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                await channel.default_exchange.publish(report, REPORTS)


async def _handler(dsn: str, url: str) -> None:
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        queue = await channel.get_queue(REPORTS, ensure=False)
        async with await psycopg.AsyncConnection.connect(dsn) as database, queue.iterator() as reports:
            async for report in reports:
                task = orjson.loads(report.body)["task"]
                events = [task] * 2, [3, 4], ["started", "succeeded"], [report.body] * 2
                await database.execute(_EVENTS, events, prepare=True)
                await database.execute("DELETE FROM step_leases WHERE task = %s", (task,), prepare=True)
                await database.execute(f"NOTIFY {HEARD}".encode())
                await database.commit()
                await report.ack()


async def _conductor(dsn: str, url: str) -> None:
    position = 0
    async with (
        await aio_pika.connect(url) as connection,
        connection.channel(publisher_confirms=False) as channel,
        await psycopg.AsyncConnection.connect(dsn) as database,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as ears,
    ):
        await ears.execute(f"LISTEN {HEARD}".encode())
        async for _ in ears.notifies():
            news = await (await database.execute(_NEWS, (position,), prepare=True)).fetchall()
            for topic, state, at in news:
                position = at
                if topic == "succeeded":
                    await _next(database, channel, orjson.loads(state)["left"] - 1, position)
            await database.commit()


async def _next(database: Any, channel: Any, left: int, position: int) -> None:
    if not left:
        await database.execute(f"NOTIFY {DONE}".encode())
        return
    task, state = _task(left)
    await database.execute("UPDATE step_position SET position = %s", (position,), prepare=True)
    await database.execute(_EVENTS, ([task] * 2, [1, 2], ["queued", "leased"], [state] * 2), prepare=True)
    await database.execute("INSERT INTO step_leases VALUES (%s)", (task,), prepare=True)
    await database.commit()
    await channel.default_exchange.publish(aio_pika.Message(state), WORK)


PARTS = {"worker": _worker, "handler": _handler, "conductor": _conductor}

if __name__ == "__main__":
    import uvloop

    uvloop.run(PARTS[sys.argv[1]](sys.argv[2], sys.argv[3]))
