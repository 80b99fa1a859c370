"""`make demo`: a workflow over RabbitMQ into real containers; its history, its trace, and whether they add up."""

import asyncio
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from adapters.verifying import Verified, projected, verify
from api.cli.explaining import told
from api.client import Client, Retry, ScheduleSpec, Task
from api.told import patiently
from api.workflow import Step, Workflow
from domain.placing import Concurrency
from domain.views import VIEWS
from infra import login
from infra.client import Target, client_of
from infra.demo_checks import (
    Seen,
    container_problems,
    fold_problems,
    order_problems,
    report,
    task_problems,
    trace_problems,
)
from infra.dev import stack
from infra.dev.errors import DevError
from infra.dev.folders import DEV, made
from infra.dev.otlp_receiver import Received, Tree, otlp_receiver, tree
from infra.engine_watch import watching
from infra.settings import load
from infra.system import CONSUMERS, Addresses, System, fresh_database

FOLDER = DEV / "demo"
PROCESSES = ("issuer", "api", *CONSUMERS, "worker")
WORKFLOW_SECONDS, PROJECTED_SECONDS, TRACE_SECONDS = 90.0, 20.0, 20.0
LOOK_SECONDS, LOOK_AGAIN_SECONDS = 0.05, 5.0
STARTED = "task.run-started.v1"
Made = TypeVar("Made")


class DemoFailed(DevError):
    """Something that the demo shows did not happen."""


def main() -> int:
    """Exit status 0 only if all that is printed was checked."""
    try:
        with ExitStack() as stack_of_contexts:
            return _demo(stack_of_contexts)
    except DevError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def _demo(contexts: ExitStack) -> int:
    for left in ("system", "rabbitmq"):
        shutil.rmtree(FOLDER / left, ignore_errors=True)
    servers = contexts.enter_context(_timed("servers", lambda: stack.up(made(FOLDER))))
    print("  " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in servers.seconds.items()))
    receiver = contexts.enter_context(otlp_receiver())
    system = contexts.enter_context(_timed("processes", lambda: _start(servers, receiver.endpoint)))
    reader = system.addresses.as_role("tally_read")
    with watching(servers.engine.host) as sightings:
        seen = asyncio.run(_run(system, receiver.endpoint))
        sightings.wait_for(set(seen.started), LOOK_AGAIN_SECONDS)
    seen.inspected, seen.starts = sightings.seen, Counter(start.container for start in sightings.starts)
    _print_history(seen)
    _print_containers(seen)
    _wait_projected(reader, seen.position)
    system.stop()
    trace = _trace(receiver, seen)
    print("\ntrace, as the OTLP receiver got it:", *trace.lines(), sep="\n  ")
    verified = verify(reader, list(VIEWS))
    _print_fold(verified)
    print("\n" + _summary(seen))
    folded = fold_problems(verified, seen.position)
    problems = [*task_problems(seen), *order_problems(seen), *container_problems(seen), *trace_problems(trace), *folded]
    return report(problems)


def _start(servers: stack.Stack, endpoint: str) -> System:
    dsn = fresh_database(servers.postgres.dsn, "demo")
    telemetry = {"TALLY_OTEL__ENDPOINT": endpoint, "TALLY_OTEL__SAMPLE": "1", "TALLY_LOG__FORMAT": "json"}
    system = System(Addresses(dsn, servers.rabbitmq.urls(), servers.engine.host), FOLDER / "system", telemetry)
    try:
        system.prepare()
        system.start(*PROCESSES)
        system.wait_ready()
    except BaseException:
        system.stop()
        raise
    return system


async def _run(system: System, endpoint: str) -> Seen:
    """Publish the workflow and watch it to its end."""
    settings = load({"otel.endpoint": endpoint, "otel.sample": 1.0})
    secret = json.loads((system.folder / "issuer" / "clients.json").read_text())["admin"]
    user = login.Login(system.api_url, system.issuer_url, "admin", secret)
    where = Target("demo", system.api_url, system.addresses.amqp["client"], user)
    async with client_of(settings, where, "default") as client:
        tide = Task("tide", image=image(), command=["sh", "-c", "echo high water at $TALLY_NOMINAL"])
        at = datetime.now(UTC) + timedelta(seconds=1)
        await client.schedule("tide").put(ScheduleSpec(at=at, task=tide.spec()))
        async with client.workflow("harbour") as workflow:
            _describe(workflow)
        print(f"published task.submit-workflow.v1 to RabbitMQ: workflow {workflow.id}, {len(workflow.steps)} tasks")
        print(f"published schedule.put.v1: tide, which fires once, at {at:%H:%M:%S} UTC\n")
        seen = Seen(explained=await _explained(client, f"{workflow.id}.load"))
        return await _watch(client, seen, len(workflow.steps) + 1)


async def _explained(client: Client, task: str) -> list[str]:
    """Why the task waits, by code; printed as `tally explain` prints it."""
    view = await patiently(client.reading.explain, task, client.namespace, client.told.position)
    print(f"tally explain {task}:\n{told(view, color=False)}")
    return [str(cause["code"]) for cause in view["causes"]]


def image() -> str:
    return os.environ.get("TALLY_IMAGE_BUSYBOX", "tallyport/busybox:dev")


def _describe(workflow: Workflow) -> None:
    """Unload, then weigh, inspect and clear, then load what was unloaded, then report, whatever came of it.

    The scales are out of order: a run fails, another one too, and the last weighs by hand. There is one quay: who
    inspects and who clears wait for each other.
    """
    by_hand = Retry(2, first=timedelta(seconds=0.5), on=["exit:75"], fallback_command=["echo", "weighed by hand"])

    def step(name: str, script: str, **more: Any) -> Step:
        return workflow.task(name, image=image(), command=["sh", "-c", script], **more)

    count = """echo '{"containers": 40}' > /tally/result.json"""
    unload = step("unload", count, result="/tally/result.json")
    weigh = step("weigh", "echo the scales are out of order; exit 75", retry=by_hand).after(unload)
    quay = Concurrency(key="quay")
    beside = [
        step(name, f"sleep 0.2; echo {name} done", concurrency=quay).after(unload)
        for name in ("inspect", "clear-customs")
    ]
    aboard = f'echo {{{{tasks["{unload.id}"].result.containers}}}} containers aboard'
    load = step("load", aboard).after(unload, weigh, *beside)
    step("report", 'echo "trace $TRACEPARENT"').after(load, when="always")


async def _watch(client: Client, seen: Seen, tasks: int) -> Seen:
    """Read the log as it grows until the workflow and the task of the schedule have ended."""
    position = 0
    async with asyncio.timeout(WORKFLOW_SECONDS):
        while not (seen.of("workflow.finished.v1") and seen.ended == tasks):
            for event in await client.reading.events(None, position, [], 500):
                position = event["position"]
                seen.events.append(event)
            await asyncio.sleep(LOOK_SECONDS)
    seen.started = {event["data"]["container_id"]: event["data"]["task_id"] for event in seen.of(STARTED)}
    if (ran := len(set(seen.started.values()))) != tasks:
        raise DemoFailed(f"{ran} of {tasks} tasks started a container")
    return seen


def _print_history(seen: Seen) -> None:
    print("history:\n   pos  ver  event                    of                       by")
    for event in seen.events:
        kind, data = event["type"].removesuffix(".v1"), event["data"]
        of = data.get("task_id") or data.get("workflow_id") or data.get("worker_id", "")
        print(f"  {event['position']:4d}  {event['version']:3d}  {kind:<24} {of:<24} {event['actor']}")


def _print_containers(seen: Seen) -> None:
    print("\ncontainers, as the engine showed them:")
    for container, task in seen.started.items():
        print(f"  {container[:12]}  {task:<24} {seen.inspected.get(container, 'NOT SEEN')}")


def _trace(receiver: Received, seen: Seen) -> Tree:
    """The workflow's trace, once every span has a parent that has arrived too: processes flush as they end."""
    trace = seen.trace_id
    deadline = time.monotonic() + TRACE_SECONDS
    while True:
        found = tree(receiver.trace(trace))
        if found.connected or time.monotonic() > deadline:
            return found
        time.sleep(LOOK_SECONDS)


def _wait_projected(dsn: str, position: int) -> None:
    """Until the views hold all up to `position`; whether they do in the end is checked with the fold."""
    deadline = time.monotonic() + PROJECTED_SECONDS
    while projected(dsn) < position and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)


def _print_fold(verified: Verified) -> None:
    rows = ", ".join(f"{count} {view}" for view, count in verified.rows.items())
    same = "equals" if verified.equal else "DIFFERS FROM"
    print(f"\nfold of {verified.events} events, to position {verified.position}, {same} the views: {rows}")


def _summary(seen: Seen) -> str:
    tasks, ok = len(seen.of("task.submitted.v1")), len(seen.of("task.succeeded.v1"))
    return (
        f"demo: {tasks} tasks, {ok} succeeded, {seen.failed} failed, {len(seen.events)} events, trace {seen.trace_id}"
    )


def _timed(what: str, start: Callable[[], Made]) -> Made:
    began = time.monotonic()
    result = start()
    print(f"{what} up in {time.monotonic() - began:.1f} s", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
