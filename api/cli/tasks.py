"""`tally ls` and `status`."""

from dataclasses import dataclass

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
from api.cli.parameters import Connect, pair
from api.cli.plain import plain

RECENT = 5
TASKS = (
    Column("NAME", field("name")),
    Column("STATUS", field("status")),
    Column("WAITED", span("created_at", "started_at", "completed_at")),
    Column("TOOK", span("started_at", "completed_at")),
    Column("RUNS", lambda row, _: "cached" if row.get("cached_from") else str(row["runs"])),
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


@dataclass(frozen=True, slots=True)
class TaskCommands:
    """Each method is a command; its parameters are the command line's."""

    connect: Connect

    async def ls(self, *filters: str, limit: int = 50, common: Common = COMMON) -> int:
        """List tasks, the newest first.

        Parameters
        ----------
        filters
            Such as status=failed, name=nightly, label.team=data, worker=W1, workflow=F1, parent=T1.
        limit
            How many at most.
        """
        from api.filters import checked

        async with self.connect(common.namespace) as client:
            wanted = checked(map(pair, filters))
            namespace = wanted.pop("namespace", None) or common.namespace
            found = await client.reading.tasks(namespace, wanted, limit)
        rows(found, (Column("ID", ident("id", found)), *TASKS), common)
        return 0

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


def summary(view: View, wide: bool) -> str:
    """The first lines of `tally status`."""
    from api.told import ENDED

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
    optional |= {"Detail": "detail", "Waits until": "waits_until"}
    optional |= {"Retry of": "retry_of", "Fork of": "forked_from"}
    optional |= {"Child of": "parent_id", "Children": "children"}
    optional |= {"Image": "image", "Workflow": "workflow_id", "Trace": "trace_id"}
    lines += [(title, str(view[name])) for title, name in optional.items() if view.get(name) is not None]
    if needs := view.get("depends_on"):
        lines.append(("Depends on", _needs(needs)))
    if first := view.get("cached_from"):
        lines.append(("Cached", f"the result is that of {first['task_id']}, which ended {age(first['ended_at'])} ago"))
    if view.get("result") is not None:
        lines.append(("Result", compact(view["result"])))
    for one in view.get("artifacts") or ():
        lines.append(("Artifact", f"{one['name']}  {one['uri']}  {one['bytes']} bytes  sha256:{one['sha256']}"))
    return "".join(f"{title:<11}{plain(text)}\n" for title, text in lines)


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
