"""Commands that show one thing: its state, its history, what it printed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from api.cli.exits import NOT_FOUND, Exit
from api.cli.output import (
    COMMON,
    Column,
    Common,
    View,
    age,
    compact,
    document,
    field,
    ident,
    moment,
    rows,
    short,
    span,
    write,
)
from api.cli.tasks import Connect, Several

if TYPE_CHECKING:
    from api.client import Client

PAUSE_SECONDS = 0.5
Follow = Annotated[bool, Parameter(name=["--follow", "-f"], negative=())]
RECENT = 5
EVENTS = (
    Column("POSITION", field("position")),
    Column("VER", field("version")),
    Column("AGE", moment("time")),
    Column("EVENT", field("type")),
    Column(
        "OF",
        lambda row, wide: short(str(row["data"].get("task_id") or row["data"].get("workflow_id") or row["stream"])),
    ),
    Column("BY", field("actor")),
    Column("CAUSED BY", ident("causation_id"), wide=True),
    Column("CHAIN", ident("correlation_id"), wide=True),
    Column("DATA", lambda row, wide: compact(row["data"]), wide=True),
)
RUNS = (
    Column("#", field("number")),
    Column("RUN", ident("run_id")),
    Column("STATUS", field("status")),
    Column("WORKER", field("worker_id")),
    Column("STARTED", moment("started_at")),
    Column("TOOK", span("started_at", "ended_at")),
    Column("EXIT", field("exit_code")),
    Column("REASON", field("reason")),
    Column("CONTAINER", field("container_id"), wide=True),
    Column("IMAGE", field("image_digest"), wide=True),
)
NODES = (
    Column("TASK", field("task_id")),
    Column("STATUS", field("status")),
    Column("NEEDS", lambda row, wide: ", ".join(row["depends_on"]) or "-"),
    Column("TOOK", span("started_at", "completed_at")),
    Column("EXIT", field("exit_code")),
    Column("WORKER", field("worker_id")),
    Column("ID", ident("id"), wide=True),
)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Asked:
    """Which events.

    Parameters
    ----------
    follow
        Go on as it grows: for a task to its end.
    after
        Only what comes after this position.
    type
        Only events of this type, such as task.failed.v1; may be given again.
    limit
        How many of the log at most.
    """

    follow: Follow = False
    after: int = 0
    type: Several = ()
    limit: int = 100


@dataclass(frozen=True, slots=True)
class HistoryCommands:
    """Each method is a command; its parameters are the command line's."""

    connect: Connect

    async def status(self, ref: str, /, *, common: Common = COMMON) -> int:
        """Show one task: where it stands, its runs, its latest events.

        Parameters
        ----------
        ref
            Its id, the beginning of it, or its name.
        """
        async with self.connect(common.namespace) as client:
            view = await client.task(ref).view()
            runs = await client.reading.runs(view["id"], view["namespace"])
            events = await client.reading.task_events(view["id"], view["namespace"])
        if not common.people:
            document({**view, "attempts": list(runs), "events": list(events)}, common)
            return 0
        write(summary(view, common.output == "wide"))
        if runs:
            write("\nRuns\n")
            rows(runs, RUNS, common)
        write("\nEvents\n")
        rows(events if common.output == "wide" else events[-RECENT:], EVENTS, common)
        return 0

    async def events(self, ref: str | None = None, /, *, asked: Asked = Asked(), common: Common = COMMON) -> int:
        """Show the history of a task, or the whole log after a position.

        Parameters
        ----------
        ref
            A task; left out, everything.
        """
        further = False
        async with self.connect(common.namespace) as client:
            pages = _log(client, common.namespace, asked) if ref is None else _task(client, ref, asked)
            async for page in pages:
                rows(page, EVENTS, common, further=further)
                further = True
        return 0

    async def logs(
        self,
        ref: str,
        /,
        *,
        follow: Follow = False,
        tail: int | None = None,
        run: int | None = None,
        common: Common = COMMON,
    ) -> int:
        """Show what a task printed, stdout on stdout and stderr on stderr.

        Parameters
        ----------
        ref
            The task.
        follow
            Go on until the run has ended; waits for it to begin.
        tail
            Only the last lines.
        run
            Number of the run; left out, the latest.
        """
        from api.cli.following import output
        from api.client import ENDED

        async with self.connect(common.namespace) as client:
            while True:
                runs = await client.reading.runs(ref, client.namespace)
                wanted = [one for one in runs if run is None or one["number"] == run]
                if wanted or not follow or (await client.task(ref).view())["status"] in ENDED:
                    break
                await asyncio.sleep(PAUSE_SECONDS)
            if not wanted:
                raise Exit(NOT_FOUND, f"{ref} has no run{'' if run is None else f' {run}'} yet; wait for one with -f")
            await output(client, wanted[-1]["run_id"], follow, tail)
        return 0

    async def workflow(self, ref: str, /, *, common: Common = COMMON) -> int:
        """Show a workflow: each task, what it needs, how it stands.

        Parameters
        ----------
        ref
            Its id, the beginning of it, or its name.
        """
        async with self.connect(common.namespace) as client:
            view = await client.reading.workflow(ref, client.namespace)
        if not common.people:
            document(view, common)
            return 0
        counts = " ".join(f"{count} {status}" for status, count in sorted(view["counts"].items()))
        write(f"Workflow  {view['workflow_id']}  {view['namespace']}  {view['status']}  {counts}\n\n")
        rows(view["nodes"], NODES, common)
        return 0


async def _log(client: "Client", namespace: str | None, asked: Asked) -> AsyncIterator[Sequence[View]]:
    after = asked.after
    while True:
        page = await client.reading.events(namespace, after, asked.type, asked.limit)
        yield page
        if not asked.follow:
            return
        after = page[-1]["position"] if page else after
        if not page:
            await asyncio.sleep(PAUSE_SECONDS)


async def _task(client: "Client", ref: str, asked: Asked) -> AsyncIterator[Sequence[View]]:
    from api.client import ENDS, LOOK

    version, wait = 0, LOOK if asked.follow else None
    while True:
        page = await client.reading.task_events(ref, client.namespace, version, wait)
        yield [one for one in page if one["position"] > asked.after and (not asked.type or one["type"] in asked.type)]
        if not asked.follow or any(one["type"] in ENDS for one in page):
            return
        version = page[-1]["version"] if page else version


def summary(view: View, wide: bool) -> str:
    """The first lines of `tally status`."""
    from api.client import ENDED

    status = view["status"] + (f" (run {view['run']})" if view["run"] else "")
    since = age(view["updated_at"])
    lines = [
        ("Task", f"{view['id'] if wide else short(view['id'])}  {view['name']}  {view['namespace']}"),
        ("Status", f"{status} for {since}" if view["status"] not in ENDED else f"{status} {since} ago"),
    ]
    if view["task_id"] != view["id"]:
        lines.insert(1, ("Task id", view["task_id"]))
    optional = {"Reason": "reason", "Because of": "because", "Exit code": "exit_code", "Worker": "worker_id"}
    optional |= {"Image": "image", "Workflow": "workflow_id", "Trace": "trace_id"}
    lines += [(title, str(view[name])) for title, name in optional.items() if view.get(name) is not None]
    needs = [need["task_id"] for need in view.get("depends_on") or ()]
    if needs:
        lines.append(("Depends on", ", ".join(needs)))
    if view.get("result") is not None:
        lines.append(("Result", compact(view["result"])))
    return "".join(f"{title:<11}{text}\n" for title, text in lines)
