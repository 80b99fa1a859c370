"""`tally ls`, `status`, `cancel`, `pause`, `resume`, `retry`, `set-priority`, `workflow`."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from api.cli.exits import FAILED, USAGE, Exit, say, well_formed
from api.cli.history import EVENTS
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
    needed,
    rows,
    short,
    span,
    write,
)
from api.cli.parameters import Connect, Flag, pair

if TYPE_CHECKING:
    from api.client import Client
    from domain.commands import ChangeTask, RetryTask
    from domain.work import Reply

RECENT = 5
TASKS = (
    Column("ID", ident("id")),
    Column("NAME", field("name")),
    Column("STATUS", field("status")),
    Column("WAITED", span("created_at", "started_at", "completed_at")),
    Column("TOOK", span("started_at", "completed_at")),
    Column("RUNS", field("runs")),
    Column("EXIT", field("exit_code")),
    Column("WORKER", field("worker_id")),
    Column("UPDATED", moment("updated_at")),
    Column("TASK ID", field("task_id"), wide=True),
    Column("NAMESPACE", field("namespace"), wide=True),
    Column("IMAGE", field("image"), wide=True),
    Column("REASON", field("reason"), wide=True),
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


@dataclass(frozen=True, slots=True)
class TaskCommands:
    """Each method is a command; its parameters are the command line's."""

    connect: Connect

    async def ls(self, *filters: str, limit: int = 50, common: Common = COMMON) -> int:
        """List tasks, the newest first.

        Parameters
        ----------
        filters
            Such as status=failed, name=nightly, label.team=data, worker=W1, workflow=F1.
        limit
            How many at most.
        """
        async with self.connect(common.namespace) as client:
            found = await client.reading.tasks(common.namespace, dict(map(pair, filters)), limit)
        rows(found, TASKS, common)
        return 0

    async def cancel(
        self, *ids: str, reason: str | None = None, grace: float | None = None, common: Common = COMMON
    ) -> int:
        """End tasks that have not ended.

        Parameters
        ----------
        ids
            Tasks: ids, their beginnings, or names.
        reason
            Why; kept in the history.
        grace
            Seconds from TERM to KILL; left out, the task's own.
        """
        from domain.commands import CancelTask

        asked = {"reason": reason, "grace": None if grace is None else timedelta(seconds=grace)}
        return await self._change(CancelTask, ids, asked, common)

    async def pause(self, *ids: str, reason: str | None = None, common: Common = COMMON) -> int:
        """Have tasks that wait not run before they are resumed.

        Parameters
        ----------
        ids
            Tasks: ids, their beginnings, or names.
        reason
            Why; kept in the history.
        """
        from domain.commands import PauseTask

        return await self._change(PauseTask, ids, {"reason": reason}, common)

    async def resume(self, *ids: str, common: Common = COMMON) -> int:
        """Have paused tasks go on waiting for what they waited for, or run.

        Parameters
        ----------
        ids
            Tasks: ids, their beginnings, or names.
        """
        from domain.commands import ResumeTask

        return await self._change(ResumeTask, ids, {}, common)

    async def _change(
        self, cls: "type[ChangeTask]", ids: tuple[str, ...], asked: Mapping[str, object], common: Common
    ) -> int:
        _check_some(ids)
        async with self.connect(common.namespace) as client:
            async for view, _ in _told(client, cls, ids, asked):
                write(f"{view['id']}\n")
        return 0

    async def retry(
        self,
        *ids: str,
        new_task_id: Annotated[str | None, Parameter(name="--as")] = None,
        wait: Flag = False,
        common: Common = COMMON,
    ) -> int:
        """Run tasks that have ended once more, each as a new task; prints the new ones' names.

        Parameters
        ----------
        ids
            Tasks: ids, their beginnings, or names.
        new_task_id
            The name of the new task, of one only; left out, its id is its name.
        wait
            Wait for the end of each; 0 only if all succeed.
        """
        from domain.commands import RetryTask

        _check_some(ids)
        if new_task_id is not None and len(ids) > 1:
            raise Exit(USAGE, "--as: one name for several tasks; leave it out, or retry them one by one")
        code = 0
        async with self.connect(common.namespace) as client:
            async for _, reply in _told(client, RetryTask, ids, {"new_task_id": new_task_id}):
                write(f"{reply.task_id}\n")
                if wait and reply.id is not None:
                    outcome = await client.task(str(reply.id)).wait()
                    say(f"{reply.task_id} {outcome.status}" + (f" ({outcome.reason})" if outcome.reason else ""))
                    code = code or (0 if outcome.status == "succeeded" else FAILED)
        return code

    async def set_priority(self, *ids: str, priority: int, common: Common = COMMON) -> int:
        """Have tasks that have not ended go before, or after, others that wait for a slot.

        Parameters
        ----------
        ids
            Tasks: ids, their beginnings, or names.
        priority
            1 to 10, 10 first; 5 is what a task has that names none.
        """
        from domain.commands import SetPriority

        return await self._change(SetPriority, ids, {"priority": priority}, common)

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
            document(view, common, name="workflow_id")
            return 0
        counts = " ".join(f"{count} {status}" for status, count in sorted(view["counts"].items()))
        write(f"Workflow  {view['workflow_id']}  {view['namespace']}  {view['status']}  {counts}\n\n")
        rows(view["nodes"], NODES, common)
        return 0


def _check_some(ids: tuple[str, ...]) -> None:
    if not ids:
        raise Exit(USAGE, "which tasks? give their ids or names")


async def _told(
    client: "Client",
    cls: "type[ChangeTask | RetryTask]",
    ids: tuple[str, ...],
    asked: Mapping[str, object],
) -> "AsyncIterator[tuple[View, Reply]]":
    """Send one command about each task; its view before, and the platform's reply. Raises Exit, Refused."""
    for ref in ids:
        view = await client.task(ref).view()
        with well_formed(f"not a {cls.TYPE}"):
            command = cls.model_validate({"task_id": view["id"], "namespace": view["namespace"], **asked})
        _, reply = await client.send(command, reply=True)
        assert reply is not None, "a reply was asked for"
        yield view, reply


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
    optional |= {"Paused by": "paused_by", "Paused for": "pause_reason"}
    optional |= {"Detail": "detail", "Waits until": "waits_until", "Retry of": "retry_of"}
    optional |= {"Image": "image", "Workflow": "workflow_id", "Trace": "trace_id"}
    lines += [(title, str(view[name])) for title, name in optional.items() if view.get(name) is not None]
    if needs := view.get("depends_on"):
        lines.append(("Depends on", _needs(needs)))
    if view.get("result") is not None:
        lines.append(("Result", compact(view["result"])))
    for one in view.get("artifacts") or ():
        lines.append(("Artifact", f"{one['name']}  {one['uri']}  {one['bytes']} bytes  sha256:{one['sha256']}"))
    return "".join(f"{title:<11}{text}\n" for title, text in lines)


def _needs(depends_on: list[View]) -> str:
    """As `a, b (failed); 1 of c, d`."""
    sets: dict[int | None, list[View]] = {}
    for need in depends_on:
        sets.setdefault(need.get("set"), []).append(need)
    texts = [
        ("" if number is None else f"{of[0]['at_least']} of ")
        + ", ".join(dict.fromkeys(needed(need["task_id"], need["when"]) for need in of))
        for number, of in sets.items()
    ]
    return "; ".join(texts)
