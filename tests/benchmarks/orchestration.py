"""Figures of order and of waiting: chains, fans and random graphs of no-op tasks, what waits idle, the dispatcher."""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from domain.commands import PutSchedule, SubmitTasks, SubmitWorkflow
from domain.dispatching import Load, Waiting, dispatch, queue_key
from domain.hosts import Host
from domain.lanes import Lane, Share
from domain.messages import Message
from domain.specs import DependsOn, TaskSpec
from infra.dev.stack import Stack
from tests.benchmarks.bench import Bench
from tests.benchmarks.measuring import Goal, baseline, median, report
from tests.benchmarks.step_ceiling import StepCeiling

CORE = ("handler", "conductor", "projector", "messenger", "worker")
ROUNDS = 5
CHAIN, WIDTH, GRAPH = 50, 100, 1000
WAITING, SCHEDULES, IDLE_SECONDS = 10_000, 1000, 20.0
QUEUED, HOSTS = 10_000, 100
ENDED = (
    "SELECT (SELECT extract(epoch FROM recorded_at) * 1000000 FROM events WHERE topic = 'workflow.finished.v1' "
    "AND originator_id = (SELECT stream FROM names WHERE kind = 'workflow' AND name = '{}'))"
)


def t4(stack: Stack, folder: Path) -> bool:
    """Idle: milliseconds a step of a chain, seconds of one task, then a hundred, then one."""
    with (
        Bench.over(stack, folder, 128, *CORE, "relay") as bench,
        StepCeiling(bench.system.addresses.database, stack.rabbitmq.amqp_url("tally")) as lid,
    ):
        _run(bench, "warm", _chain(5))
        steps: list[float] = []
        fans: list[float] = []
        least: list[float] = []
        for n in range(ROUNDS):
            steps.append(_run(bench, f"chain-{n}", _chain(CHAIN)) / CHAIN * 1000)
            fans.append(_run(bench, f"fan-{n}", _fan(WIDTH)))
            least.append(lid.run(CHAIN))
    step = median(steps)
    met = report("T4-chain", step, "ms a step", Goal(8), **baseline("ceiling of a step", least, step), runs=ROUNDS)
    return report("T4-fan", median(fans), "s for 1, 100, 1", Goal(0.5), runs=ROUNDS) and met


def graph(stack: Stack, folder: Path) -> bool:
    """A random graph of a thousand no-op tasks, from its publication to its end."""
    chance = random.Random(20261121)
    with Bench.over(stack, folder, 128, *CORE, "relay") as bench:
        _run(bench, "warm", _chain(5))
        took = [_run(bench, f"graph-{n}", _random(GRAPH, chance)) for n in range(ROUNDS)]
    return report("graph-1000", median(took), "s", Goal(3), worst=round(max(took), 2), runs=ROUNDS)


def idle(stack: Stack, folder: Path) -> bool:
    """What a system costs, in % of one core, where much waits and nothing is to be done."""
    with Bench.over(stack, folder, 8, *CORE, "relay") as bench:
        time.sleep(5)
        before = _idle(bench)
        later = datetime.now(UTC) + timedelta(days=30)
        asleep = TaskSpec(executor="noop", not_before=later)
        for _ in range(WAITING // 1000):
            bench.send(SubmitTasks(tasks=(asleep,) * 1000))
        for n in range(SCHEDULES):
            bench.send(_yearly(n))
        bench.wait_submitted(WAITING)
        for follower in ("conductor", "projector", "relay"):
            bench.wait_caught_up(follower)
        time.sleep(10)
        waits = _idle(bench)
    return report("idle-waiting", waits, "% of a core", Goal(5), empty=round(before, 2), seconds=IDLE_SECONDS)


def dispatcher(stack: Stack, folder: Path) -> bool:
    """One decision: ten thousand queued tasks in twenty lanes, a hundred workers with four slots."""
    now, clock = datetime(2026, 11, 21, tzinfo=UTC), 100.0
    host = Host("W", 1, "default", frozenset({"noop"}), 4, 0, 1, now, clock, now)
    hosts = [replace(host, worker_id=f"W{n}") for n in range(HOSTS)]
    lanes = [Lane(f"n{n}", "default", "noop", shares=(Share(f"key:n{n}/k", 7),) if n % 2 else ()) for n in range(20)]
    tasks = [Waiting(queue_key(now, 1 + n % 10), n, UUID(int=n), lanes[n % 20]) for n in range(QUEUED)]
    took: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        given = dispatch(tasks, hosts, Load(), now, clock)
        took.append((time.perf_counter() - began) * 1000)
        assert len(given.grants) == 4 * HOSTS
    return report("dispatch", median(took), "ms for 10,000 queued and 100 workers", Goal(100), runs=ROUNDS)


FIGURES = {"T4": t4, "graph": graph, "idle": idle, "dispatch": dispatcher}


def _run(bench: Bench, name: str, specs: Sequence[TaskSpec]) -> float:
    """Seconds from publishing a workflow to its stored end."""
    own = tuple(_named(name, spec) for spec in specs)
    began = time.time()
    bench.send(SubmitWorkflow(workflow_id=name, tasks=own))
    deadline = began + 120
    while not (ended := bench.count(ENDED.format(name))):
        assert time.time() < deadline, f"{name} has not ended"
        time.sleep(0.05)
    time.sleep(0.2)
    return ended / 1e6 - began


def _named(workflow: str, spec: TaskSpec) -> TaskSpec:
    needs = tuple(
        need.model_copy(update={"task_id": f"{workflow}.{need.task_id}"})
        for need in spec.depends_on
        if isinstance(need, DependsOn)
    )
    return spec.model_copy(update={"task_id": f"{workflow}.{spec.task_id}", "depends_on": needs})


def _task(name: str, *needs: str) -> TaskSpec:
    return TaskSpec(task_id=name, executor="noop", depends_on=tuple(DependsOn(task_id=need) for need in needs))


def _chain(length: int) -> list[TaskSpec]:
    return [_task(f"t{n}", *([f"t{n - 1}"] if n else [])) for n in range(length)]


def _fan(width: int) -> list[TaskSpec]:
    middle = [f"m{n}" for n in range(width)]
    return [_task("first"), *(_task(name, "first") for name in middle), _task("last", *middle)]


def _random(size: int, chance: random.Random) -> list[TaskSpec]:
    return [
        _task(f"t{n}", *(f"t{m}" for m in chance.sample(range(n), min(n, chance.randint(0, 3))))) for n in range(size)
    ]


def _yearly(n: int) -> Message:
    cron = f"{n % 60} {n % 24} 1 1 *"
    return PutSchedule.model_validate({"schedule_id": f"s{n}", "cron": cron, "task": TaskSpec(executor="noop")})


def _idle(bench: Bench) -> float:
    began, before = time.monotonic(), bench.cpu()
    time.sleep(IDLE_SECONDS)
    return (bench.cpu() - before) / (time.monotonic() - began) * 100
