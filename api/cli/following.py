"""A task watched to its end: what it prints where it printed it, how it goes on stderr."""

import asyncio
import sys

from api.cli.exits import NOT_RUN, say
from api.cli.output import Common
from api.client import Client, Outcome, StoredEvent, SubmittedTask

LOG_SECONDS = 10.0


async def follow(task: SubmittedTask, common: Common) -> int:
    """Show a task until it has ended; returns the exit code of its container."""
    printing: list[asyncio.Task[None]] = []
    outcome = Outcome("unknown")
    async for event in task.events():
        if not common.quiet:
            progress(event)
        if event.type == "task.run-started.v1":
            printing.append(asyncio.create_task(output(task.client, str(event.data["run_id"]), follow=True)))
        outcome = Outcome(event.type.split(".")[1], event.data.get("exit_code"))
    if printing:
        _, late = await asyncio.wait(printing, timeout=LOG_SECONDS)
        for one in late:
            one.cancel()
            say("tally: the rest of the output is not stored yet; see: tally logs " + task.id)
    return container_code(outcome)


async def output(client: Client, run_id: str, follow: bool, tail: int | None = None) -> None:
    """What a run prints, its stdout on stdout and its stderr on stderr."""
    async for part in client.reading.output(run_id, follow, tail):
        to = sys.stdout if part.stream == "stdout" else sys.stderr
        to.buffer.write(part.data)
        to.buffer.flush()


def progress(event: StoredEvent) -> None:
    """One line on stderr."""
    data = event.data
    about = {
        "task.blocked.v1": lambda: "waits for " + ", ".join(one["task_id"] for one in data["by"]),
        "task.run-leased.v1": lambda: f"run {data['run']} leased to {data['worker_id']}",
        "task.run-started.v1": lambda: f"run {data['run']} started",
        "task.run-failed.v1": lambda: f"run {data['run']} failed: {data['reason']}",
        "task.run-lost.v1": lambda: f"run {data['run']} lost with its worker",
        "task.failed.v1": lambda: f"failed: {data['reason']}",
        "task.skipped.v1": lambda: f"skipped because of {data['because']}",
    }.get(event.type)
    say(f"{data['task_id']} {about() if about else event.type.split('.')[1].replace('-', ' ')}")


def container_code(outcome: Outcome) -> int:
    """The exit code of `--wait`: the container's, 0 for a task without one that succeeded."""
    if outcome.exit_code is not None:
        return outcome.exit_code
    return 0 if outcome.status == "succeeded" else NOT_RUN
