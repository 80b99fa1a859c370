"""`tally workflow`."""

from dataclasses import dataclass
from typing import Annotated

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


@dataclass(frozen=True, slots=True)
class WorkflowCommands:
    """Each method is a command; its parameters are the command line's."""

    connect: Connect

    async def show(self, ref: str, /, *, common: Common = COMMON) -> int:
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
        more = "  open: further tasks are to come" if view["open"] else ""
        write(f"Workflow  {view['workflow_id']}  {view['namespace']}  {view['status']}  {counts}{more}\n\n")
        rows(view["nodes"], NODES, common)
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
