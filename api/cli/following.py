"""A task watched to its end: what it prints where it printed it, how it goes on stderr."""

import asyncio
import sys
from dataclasses import dataclass, field
from typing import Any

from api.cli.exits import NOT_RUN, leave_unwritten, say
from api.cli.output import Common, needed
from api.client import Client, Outcome, StoredEvent, SubmittedTask
from domain.ports.platform import Output

SILENT_SECONDS = 15.0
NOT_ALL_KEPT = "tally: the run printed more than was kept, 10 MiB at most"


async def follow(task: SubmittedTask, common: Common) -> int:
    """Show a task until it has ended; returns the exit code of its container. Raises Refused."""
    printing = Printing(task.client)
    outcome, truncated = Outcome("unknown"), False
    async for event in task.events():
        if not common.quiet:
            progress(event)
        if event.type == "task.run-started.v1":
            printing.begin(str(event.data["run_id"]))
        log: dict[str, Any] = event.data.get("log") or {}
        truncated = truncated or bool(log.get("truncated"))
        outcome = Outcome(event.type.split(".")[1], event.data.get("exit_code"))
    if not await printing.finished():
        say("tally: the rest of the output is not stored yet; see: tally logs " + task.id)
    if truncated:
        say(NOT_ALL_KEPT)
    return container_code(outcome)


@dataclass(slots=True)
class Printing:
    """What the runs of a task print, each beside the others."""

    client: Client
    _runs: list[asyncio.Task[None]] = field(default_factory=list["asyncio.Task[None]"])
    _parts: int = 0

    def begin(self, run_id: str) -> None:
        """Follow one more run."""
        self._runs.append(asyncio.create_task(self._print(run_id)))

    async def finished(self) -> bool:
        """Return when all is printed, or (False) when no more of it has come for 15 s. Raises Refused."""
        late, seen = set(self._runs), -1
        while late and seen != self._parts:
            seen = self._parts
            _, late = await asyncio.wait(late, timeout=SILENT_SECONDS)
        for one in late:
            one.cancel()
        for one in self._runs:
            if one not in late:
                one.result()
        return not late

    async def _print(self, run_id: str) -> None:
        """A reader that has gone does not end the waiting: the container goes on."""
        try:
            async for part in self.client.reading.output(run_id, follow=True):
                self._parts += 1
                _print(part)
        except BrokenPipeError:
            leave_unwritten()


async def output(client: Client, run_id: str, follow: bool, tail: int | None = None) -> None:
    """What a run prints, its stdout on stdout and its stderr on stderr."""
    async for part in client.reading.output(run_id, follow, tail):
        _print(part)


def _print(part: Output) -> None:
    to = sys.stdout if part.stream == "stdout" else sys.stderr
    to.buffer.write(part.data)
    to.buffer.flush()


def progress(event: StoredEvent) -> None:
    """One line on stderr."""
    data = event.data
    about = {
        "task.blocked.v1": lambda: "waits for " + ", ".join(map(_blocker, data["by"])),
        "task.run-leased.v1": lambda: f"run {data['run']} leased to {data['worker_id']}",
        "task.run-started.v1": lambda: f"run {data['run']} started",
        "task.run-failed.v1": lambda: f"run {data['run']} failed: {data['reason']}{_next_run(data)}",
        "task.run-lost.v1": lambda: (
            f"run {data['run']} lost: {data.get('error', {}).get('code', 'its worker is silent')}{_next_run(data)}"
        ),
        "task.succeeded.v1": lambda: "succeeded" + _cached(data),
        "task.failed.v1": lambda: f"failed: {data['reason']}" + (f": {data['detail']}" if "detail" in data else ""),
        "task.quarantined.v1": lambda: f"quarantined: {data['reason']}",
        "task.expired.v1": lambda: f"expired: {data['reason']}",
        "task.skipped.v1": lambda: f"skipped because of {data['because']}",
    }.get(event.type)
    say(f"{data['task_id']} {about() if about else event.type.split('.')[1].replace('-', ' ')}")


def _cached(data: dict[str, Any]) -> str:
    return f": cached, the result is that of {data['cached_from']['task_id']}" if "cached_from" in data else ""


def _next_run(data: dict[str, Any]) -> str:
    return f"; the next one may begin at {data['retry_at']}" if "retry_at" in data else ""


def _blocker(by: dict[str, Any]) -> str:
    if "until" in by:
        return str(by["until"])
    if "of" in by:
        return f"{by['at_least']} of {', '.join(map(_blocker, by['of']))}"
    return needed(by["task_id"], by.get("needs", "succeeded"))


def container_code(outcome: Outcome) -> int:
    """The exit code of `--wait`: the container's; 0 only for a task that succeeded."""
    return outcome.exit_code or (0 if outcome.status == "succeeded" else NOT_RUN)
