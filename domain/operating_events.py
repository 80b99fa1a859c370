"""What is recorded of workers, limits and task types."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.messages import Message
from domain.placing import Rate
from domain.type_specs import Definition


class WorkerRegistered(Message):
    """A worker process came up and opened a generation."""

    TYPE = "worker.registered.v1"
    worker_id: str
    generation: int
    instance: UUID
    engine: str
    pool: str
    slots: int
    executors: tuple[str, ...]
    labels: dict[str, str] = {}
    version: str


class WorkerLost(Message):
    """A worker was not heard for a whole lease. `runs`: what it held then."""

    TYPE = "worker.lost.v1"
    worker_id: str
    generation: int
    runs: tuple[UUID, ...] = ()


class WorkerDraining(Message):
    """A worker is given nothing more until it is started; what it runs, it runs to the end."""

    TYPE = "worker.draining.v1"
    worker_id: str
    by: str
    reason: str | None = None


class WorkerServing(Message):
    """A worker that was drained is given tasks again."""

    TYPE = "worker.serving.v1"
    worker_id: str
    by: str


class LimitChanged(Message):
    """How many tasks of a scope may run at once, and start in a span, from now on; absent: any number.

    `scope`: `namespace:<name>`, `pool:<name>` or `key:<namespace>/<key>`.
    """

    TYPE = "limit.changed.v1"
    scope: str
    max_running: int | None = None
    rate: Rate | None = None
    by: str


class TaskTypeChanged(Message):
    """A task type was registered, or registered anew: `number` counts that. Tasks keep theirs."""

    TYPE = "task-type.changed.v1"
    task_type: str
    number: Annotated[int, Field(ge=1)]
    definition: Definition
    by: str


class TaskTypeRemoved(Message):
    """A task type is no more to be had by new tasks. `number`: of its last version."""

    TYPE = "task-type.removed.v1"
    task_type: str
    number: int
    by: str
