"""The figures, each with its baseline taken in turns with it. A function prints its line and says whether it is met."""

import asyncio
import os
import time
from pathlib import Path

from infra.dev.stack import Stack
from tests.benchmarks.bench import NOOP, Bench, container
from tests.benchmarks.ceiling import Ceiling
from tests.benchmarks.docker_raw import Raw
from tests.benchmarks.measuring import Goal, baseline, cpu_seconds, median, percentile, report

CORE = ("handler", "conductor", "projector", "messenger", "worker")
ROUNDS = 3
NOOPS = 3000
BULK = 10_000
LATENCIES = 200
CONTAINERS, CONTAINER_ROUNDS, SLOTS, IDLE = 100, 2, 8, 20


def image() -> str:
    return os.environ.get("TALLY_IMAGE_BUSYBOX", "tallyport/busybox:dev")


def t1(stack: Stack, folder: Path) -> bool:
    """CPU time of a no-op task with full history and views, one message a task; the relay's beside it."""
    ours: list[float] = []
    least: list[float] = []
    relayed: list[float] = []
    with Bench.over(stack, folder, 400, *CORE) as bench, Ceiling(bench.system.addresses.database, _url(stack)) as lid:
        bench.submit([NOOP] * 200)
        bench.wait_ended(200)
        for _ in range(ROUNDS):
            ours.append(_noops(bench))
            before = cpu_seconds([lid.pid, *bench.servers]) + _own()
            lid.run(NOOPS)
            least.append((cpu_seconds([lid.pid, *bench.servers]) + _own() - before) / NOOPS * 1000)
        relayed.append(_relay(bench))
    value = median(ours)
    return report(
        "T1",
        value,
        "cpu ms/task",
        Goal(2.5),
        **baseline("ceiling batch", least, value),
        relay_cpu_ms_per_event=round(median(relayed), 3),
        runs=ROUNDS,
    )


def t3(stack: Stack, folder: Path) -> bool:
    """Idle latency of a no-op task: submit to stored end."""
    with (
        Bench.over(stack, folder, 8, *CORE, "relay") as bench,
        Ceiling(bench.system.addresses.database, _url(stack)) as lid,
    ):
        took: list[float] = []
        least: list[float] = []
        asyncio.run(bench.latencies(NOOP, 20))
        for _ in range(ROUNDS):
            took += asyncio.run(bench.latencies(NOOP, LATENCIES // ROUNDS))
            least += asyncio.run(lid.latencies(LATENCIES // ROUNDS))
    value = percentile(took, 0.5)
    lowest = baseline("ceiling", least, value)
    return report("T3", value, "ms p50", Goal(15), **lowest, p99=round(percentile(took, 0.99), 1), runs=len(took))


def t5(stack: Stack, folder: Path) -> bool:
    """Containers a second at 8 slots, and the time that an idle task adds to its container.

    Both clocks end when the last container is removed; ours are when a sync has named their report.
    """
    raw, spec = Raw(stack.engine.host, image(), SLOTS), container(image())
    ours: list[float] = []
    plain: list[float] = []
    removed: list[float] = []
    with Bench.over(stack, folder, SLOTS, *CORE, "logkeeper", "relay") as bench:
        raw.rate(SLOTS)
        asyncio.run(bench.latencies(spec, 2))
        idle, idle_raw = list[float](), list[float]()
        for _ in range(IDLE):
            idle_raw.append(raw.one() * 1000)
            idle += asyncio.run(bench.latencies(spec, 1))
        for _ in range(CONTAINER_ROUNDS):
            plain.append(raw.rate(CONTAINERS))
            rate, tail = _containers(bench, CONTAINERS)
            ours.append(rate)
            removed.append(tail)
    raw.close()
    share = median(ours) / median(plain) * 100
    added = median([ours - plain for ours, plain in zip(idle, idle_raw, strict=True)])
    met = report(
        "T5",
        share,
        "% of raw containers/s",
        Goal(90, at_most=False),
        **baseline("docker_raw", plain, median(ours)),
        containers_s=round(median(ours), 2),
        last_removed_after_s=round(median(removed), 1),
        runs=CONTAINER_ROUNDS,
    )
    lowest = baseline("docker_raw", idle_raw, median(idle))
    return report("T5-idle", added, "ms added per idle task", Goal(30), **lowest, runs=IDLE) and met


def bulk(stack: Stack, folder: Path) -> bool:
    """10,000 no-op tasks in messages of 1,000: confirmed by the broker, accepted (`task.submitted` is stored), ended,
    and followed."""
    confirmed, accepted, ended, lag = list[float](), list[float](), list[float](), list[float]()
    published, stored = list[float](), list[float]()
    with (
        Bench.over(stack, folder, 400, *CORE, "relay") as bench,
        Ceiling(bench.system.addresses.database, _url(stack)) as lid,
    ):
        bench.submit([NOOP] * 1000, many=True)
        bench.wait_ended(1000)
        for _ in range(ROUNDS):
            before, began = bench.ended, time.monotonic()
            bench.submit([NOOP] * BULK, many=True)
            confirmed.append(BULK / (time.monotonic() - began))
            bench.wait_submitted(before + BULK)
            accepted.append(BULK / (time.monotonic() - began))
            bench.wait_ended(before + BULK, seconds=300)
            ended.append(BULK / (time.monotonic() - began))
            lag.append(max(bench.wait_caught_up("projector"), bench.wait_caught_up("relay")))
            seconds = lid.run(BULK, bulk=True)
            published.append(BULK / seconds[0])
            stored.append(BULK / seconds[1])
    met = [
        _rate("bulk-confirmed", 5000, confirmed, published),
        _rate("bulk-accepted", 5000, accepted, stored),
        _rate("bulk-ended", 800, ended, stored),
    ]
    met.append(report("bulk-lag", max(lag), "s until projector and relay have caught up", Goal(60), runs=ROUNDS))
    return all(met)


def _rate(figure: str, goal: float, ours: list[float], least: list[float]) -> bool:
    value = median(ours)
    beside = baseline("ceiling bulk", least, value)
    return report(figure, value, "tasks/s", Goal(goal, at_most=False), **beside, runs=len(ours))


FIGURES = {"T1": t1, "T3": t3, "T5": t5, "bulk": bulk}


def _noops(bench: Bench) -> float:
    """CPU milliseconds a task, of everything, until the views show the end of all."""
    ended, before = bench.ended, bench.cpu()
    bench.submit([NOOP] * NOOPS)
    bench.wait_ended(ended + NOOPS)
    bench.wait_caught_up("projector")
    return (bench.cpu() - before) / NOOPS * 1000


def _relay(bench: Bench) -> float:
    """CPU milliseconds an event, of the relay and the broker, while it catches up with all that was recorded."""
    events = bench.count("SELECT count(*) FROM events")
    broker = bench.servers[1]
    before = cpu_seconds([broker])
    bench.system.start("relay")
    bench.system.wait_ready("relay")
    bench.wait_caught_up("relay", seconds=120)
    used = cpu_seconds([bench.system.children["relay"].pid, broker]) - before
    return used / events * 1000


def _containers(bench: Bench, count: int) -> tuple[float, float]:
    """Containers a second, until the last one is removed; the seconds of it after the last end."""
    bench.look()  # the idle tasks before were not counted
    ended, began = bench.ended, time.monotonic()
    bench.submit([container(image())] * count)
    bench.wait_ended(ended + count, seconds=300)
    tail = bench.wait_removed()
    return count / (time.monotonic() - began), tail


def _url(stack: Stack) -> str:
    return stack.rabbitmq.amqp_url("tally")


def _own() -> float:
    return time.process_time()
