"""The least that a step of a chain costs on this machine with the same servers and the same adapters.

A worker reports through a quorum queue; one process commits what was reported; a second one hears of it, reads it,
commits what is next, and sends that to the worker. No decisions, rows, views, beats or fences; nobody else looks on.
Run as a program it is one of the three: `python -m tests.benchmarks.step_ceiling worker DSN AMQP_URL`.
"""

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from uuid import UUID

import orjson
import psycopg
from uuid_utils.compat import uuid7

from adapters import broker
from adapters.event_log import connect
from adapters.intake import Intake
from adapters.listening import listen
from adapters.pipeline import Pipeline
from domain.ports.broker import Outgoing, Publisher
from domain.ports.topology import Queue, Topology

WORK, REPORTS = "bench.step.work", "bench.step.reports"
HEARD, DONE = "step_heard", "step_done"
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
    "SELECT * FROM unnest(%b::uuid[], %b::int[], %b::text[], %b::bytea[])"
)
_NEWS = "SELECT topic, state, position FROM step_events WHERE position > %b::bigint ORDER BY position LIMIT 100"
NOTIFY = f"NOTIFY {HEARD}".encode()


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
            ears.execute("INSERT INTO step_events VALUES (%s, 4, 'succeeded', %s)", (task, state))
            ears.execute(NOTIFY)
            assert list(ears.notifies(timeout=60, stop_after=1)), "the chain has ended"
            return (time.monotonic() - began) / steps * 1000


def _task(left: int) -> tuple[UUID, bytes]:
    task = uuid7()
    return task, orjson.dumps({"task": str(task), "left": left})


async def _declare(url: str) -> None:
    async with broker.connect(url, "step") as amqp:
        await amqp.declare(Topology(queues=(Queue(WORK), Queue(REPORTS, {"x-queue-type": "quorum"}))))


async def _worker(dsn: str, url: str) -> None:
    async with broker.connect(url, "step worker") as amqp:
        offers, publisher = amqp.subscription(Intake(WORK, 100)), amqp.publisher()
        while True:
            batch = await offers.batch(100)
            await publisher.publish([_message(REPORTS, offer.body) for offer in batch])
            await offers.ack(batch[-1])


async def _handler(dsn: str, url: str) -> None:
    async with broker.connect(url, "step handler") as amqp, await connect(dsn, "step handler") as connection:
        reports, pipeline = amqp.subscription(Intake(REPORTS, 100)), Pipeline(connection)
        while True:
            batch = await reports.batch(100)
            async with pipeline.transaction():
                for report in batch:
                    task = UUID(orjson.loads(report.body)["task"])
                    pipeline.send(_EVENTS, ([task] * 2, [3, 4], ["started", "succeeded"], [report.body] * 2))
                    pipeline.send("DELETE FROM step_leases WHERE task = %b", (task,))
                pipeline.send(NOTIFY)
            await reports.ack(batch[-1])


async def _conductor(dsn: str, url: str) -> None:
    heard = asyncio.Event()
    async with (
        broker.connect(url, "step conductor") as amqp,
        await connect(dsn, "step conductor") as connection,
    ):
        await connection.execute(f"LISTEN {HEARD}".encode())
        pipeline, publisher, position = Pipeline(connection), amqp.publisher(), 0
        while True:
            await listen(connection, lambda _: heard.set(), heard, 3600)
            heard.clear()
            async with pipeline:
                news = await pipeline.rows(_NEWS, (position,))
            for topic, state, at in news:
                position = at
                if topic == "succeeded":
                    await _next(pipeline, publisher, orjson.loads(state)["left"] - 1, position)


async def _next(pipeline: Pipeline, publisher: Publisher, left: int, position: int) -> None:
    task, state = _task(left)
    async with pipeline.transaction():
        if left:
            pipeline.send("UPDATE step_position SET position = %b::bigint", (position,))
            pipeline.send(_EVENTS, ([task] * 2, [1, 2], ["queued", "leased"], [state] * 2))
            pipeline.send("INSERT INTO step_leases VALUES (%b)", (task,))
        else:
            pipeline.send(f"NOTIFY {DONE}".encode())
    if left:
        await publisher.publish([replace(_message(WORK, state), persistent=False)])


def _message(queue: str, body: bytes) -> Outgoing:
    return Outgoing("", queue, "step", uuid7(), body, mandatory=False)


PARTS = {"worker": _worker, "handler": _handler, "conductor": _conductor}

if __name__ == "__main__":
    import uvloop

    uvloop.run(PARTS[sys.argv[1]](sys.argv[2], sys.argv[3]))
