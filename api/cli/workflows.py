"""`tally workflow`: shown, cancelled, run once more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from api.cli.exits import FAILED, say
from api.cli.output import COMMON, Column, Common, document, field, ident, rows, span, write
from api.cli.parameters import Connect, Flag

NODES = (
    Column("TASK", field("task_id")),
    Column("STATUS", field("status")),
    Column("NEEDS", lambda row, wide: ", ".join(row["depends_on"]) or "-"),
    Column("TOOK", span("started_at", "completed_at")),
    Column("EXIT", field("exit_code")),
    Column("WORKER", field("worker_id")),
    Column("ID", ident("id"), wide=True),
)


def flowchart(view: Mapping[str, Any]) -> str:
    """The graph of a workflow in Mermaid's words."""
    names = {node["task_id"]: f"n{number}" for number, node in enumerate(view["nodes"])}
    boxes = (f'  {names[node["task_id"]]}["{node["task_id"]}<br>{node["status"]}"]' for node in view["nodes"])
    arrows = (f"  {names[edge['from']]} --> {names[edge['to']]}" for edge in view["edges"] if edge["from"] in names)
    return "\n".join(["flowchart LR", *boxes, *arrows, ""])


@dataclass(frozen=True, slots=True)
class WorkflowCommands:
    """Each method is a command; its parameters are the command line's."""

    connect: Connect

    async def show(
        self,
        ref: str,
        /,
        *,
        around: str | None = None,
        hops: int | None = None,
        mermaid: Flag = False,
        common: Common = COMMON,
    ) -> int:
        """Show a workflow: each task, what it needs, how it stands.

        Parameters
        ----------
        ref
            Its id, the beginning of it, or its name.
        around
            Only the tasks around this one, given by name or id.
        hops
            How many dependencies away from it, either way; 1 if left out.
        mermaid
            Print the graph as Mermaid draws it.
        """
        from domain.errors import BadQuery, Refused
        from domain.graph import drawn

        async with self.connect(common.namespace) as client:
            whole = await client.reading.workflow(ref, client.namespace)
        try:
            view = drawn(whole, around, hops)
        except BadQuery as bad:
            raise Refused(bad.problem()) from bad
        if mermaid:
            write(flowchart(view))
            return 0
        if not common.people:
            document(view, common, name="workflow_id")
            return 0
        counts = " ".join(f"{count} {status}" for status, count in sorted(view["counts"].items()))
        more = "  open: further tasks are to come" if view["open"] else ""
        write(f"Workflow  {view['workflow_id']}  {view['namespace']}  {view['status']}  {counts}{more}\n\n")
        rows(view["nodes"], NODES, common)
        return 0

    async def cancel(self, ref: str, /, *, reason: str | None = None, common: Common = COMMON) -> int:
        """Cancel a workflow: each task of it that has not ended, and no more are taken; prints its name.

        Parameters
        ----------
        ref
            Its id, the beginning of it, or its name.
        reason
            Why; kept in the history.
        """
        async with self.connect(common.namespace) as client:
            view = await client.reading.workflow(ref, client.namespace)
            await client.cancel_workflow(view["id"], reason=reason)
        write(f"{view['workflow_id']}\n")
        return 0

    async def retry(
        self,
        ref: str,
        /,
        *,
        new_workflow_id: Annotated[str | None, Parameter(name="--as")] = None,
        wait: Flag = False,
        common: Common = COMMON,
    ) -> int:
        """Run a finished workflow once more from its failed tasks, as a new one; prints the new one's name.

        Parameters
        ----------
        ref
            Its id, the beginning of it, or its name.
        new_workflow_id
            The name of the new workflow; left out, its id is its name.
        wait
            Wait for the end of each of its tasks; 0 only if all succeed.
        """
        async with self.connect(common.namespace) as client:
            view = await client.reading.workflow(ref, client.namespace)
            reply = await client.retry_workflow(view["id"], new_workflow_id)
            write(f"{reply.workflow_id}\n")
            outcomes = [(task.id, await task.wait()) for task in await client.accepted_by(reply)] if wait else []
        for name, outcome in outcomes:
            say(f"{name} {outcome.status}" + (f" ({outcome.reason})" if outcome.reason else ""))
        return 0 if all(outcome.status == "succeeded" for _, outcome in outcomes) else FAILED
