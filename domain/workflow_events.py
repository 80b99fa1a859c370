"""What is recorded of a workflow."""

from uuid import UUID

from domain.messages import Message, Value
from domain.specs import OnFailure


class Node(Value):
    """A task of a workflow: its name, its stream, and the names of the tasks it needs."""

    task_id: str
    stream: UUID
    depends_on: tuple[str, ...] = ()


class FormerWorkflow(Value):
    """A workflow that another does once more: the name it was given and its stream."""

    workflow_id: str
    stream: UUID


class WorkflowSubmitted(Message):
    """Tasks that depend on each other were accepted as a whole. `open`: further ones are to come.

    `retry_of`: the finished workflow whose failed tasks, and what depends on them, these are once more.
    """

    TYPE = "workflow.submitted.v1"
    workflow_id: str
    tasks: tuple[Node, ...]
    on_failure: OnFailure = "skip-downstream"
    max_parallel: int | None = None
    retry_of: FormerWorkflow | None = None
    open: bool | None = None


class WorkflowExtended(Message):
    """Further tasks of a workflow were accepted. `open`: still others are to come; absent: these were the last."""

    TYPE = "workflow.extended.v1"
    workflow_id: str
    tasks: tuple[Node, ...]
    open: bool | None = None


class WorkflowCancelled(Message):
    """A workflow was cancelled: each of its tasks that has not ended is being cancelled.

    `because`: the task whose failure did it, under fail-fast.
    """

    TYPE = "workflow.cancelled.v1"
    workflow_id: str
    by: str
    reason: str | None = None
    because: str | None = None


class WorkflowFinished(Message):
    """Every task of a workflow has ended."""

    TYPE = "workflow.finished.v1"
    workflow_id: str
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0
    expired: int = 0
    quarantined: int = 0
