"""A workflow of any size as the messages that bring it: one, or several that go on with each other."""

from collections.abc import Collection, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from domain.commands import MOST_AT_ONCE, SubmitWorkflow
from domain.dependencies import check_graph, named
from domain.specs import DependsOn, OnFailure, TaskSpec

MOST_BYTES = 900_000
"""A message takes 1 MiB: there is room for what is around the tasks."""


def messages(
    workflow_id: str | None,
    namespace: str,
    tasks: Sequence[TaskSpec],
    on_failure: OnFailure = "skip-downstream",
    max_parallel: int | None = None,
) -> list[SubmitWorkflow]:
    """The commands, to be sent one after the other: what a task needs comes with it, or before.

    Raises DependencyCycle, SelfDependency, and pydantic's ValidationError if several are needed and there is no name.
    """
    parts = list(_parts(tasks))
    if len(parts) > 1:
        own = {task.task_id for task in tasks}
        parts = list(_parts([_settled(task, own) if on_failure == "continue" else task for task in _in_order(tasks)]))
    return [
        SubmitWorkflow(
            workflow_id=workflow_id,
            namespace=namespace,
            on_failure=on_failure,
            max_parallel=max_parallel,
            more=number < len(parts),
            tasks=tuple(part),
        )
        for number, part in enumerate(parts, start=1)
    ]


def _settled(task: TaskSpec, own: Collection[str | None]) -> TaskSpec:
    """With the condition on tasks that are not the workflow's `own`: none of them comes with a later message."""

    def settled(need: DependsOn) -> DependsOn:
        outside = need.forward is not None and need.when is None and need.task_id not in own
        return need.model_copy(update={"when": "succeeded"}) if outside else need

    needs = [
        settled(need) if isinstance(need, DependsOn) else need.model_copy(update={"of": tuple(map(settled, need.of))})
        for need in task.depends_on
    ]
    return task.model_copy(update={"depends_on": tuple(needs)})


def _parts(tasks: Sequence[TaskSpec]) -> Iterator[list[TaskSpec]]:
    part: list[TaskSpec] = []
    size = 0
    for task in tasks:
        length = len(task.model_dump_json(exclude_none=True).encode())
        if part and (len(part) == MOST_AT_ONCE or size + length > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(task)
        size += length
    yield part


def _in_order(tasks: Sequence[TaskSpec]) -> list[TaskSpec]:
    by_name = {task.task_id or f"tasks[{number}]": task for number, task in enumerate(tasks)}
    needs = {name: [need for need in named(task.depends_on) if need in by_name] for name, task in by_name.items()}
    try:
        return [by_name[name] for name in TopologicalSorter(needs).static_order()]
    except CycleError:
        check_graph(needs)
        raise
