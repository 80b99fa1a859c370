"""What the span of a run says: whose run it is from the start on, and what became of it before the end."""

from collections.abc import Mapping
from typing import Literal, TypeAlias
from uuid import UUID

from consumers.holdings import Held
from consumers.starting import TooLate
from domain.ports.running import RunLabels
from domain.ports.tracing import Attributes
from domain.reports import RunFinish
from domain.retrying import reason_of
from domain.work import OfferedRun

Result: TypeAlias = Literal["success", "failure", "error", "timeout", "cancellation", "skip"]
RESULTS: Mapping[str | None, Result] = {
    None: "success",
    "timeout": "timeout",
    "exit-nonzero": "failure",
    "oom": "failure",
}
RESULT = "cicd.pipeline.task.run.result"


def of_nothing(offered: OfferedRun) -> Attributes:
    """A run without a container: over as it begins."""
    spec = offered.spec
    workflow = str(spec.workflow) if spec.workflow else None
    return {**_whose(offered.task_id, offered.run_id, spec.name, spec.workflow_id, workflow), RESULT: "success"}


def at_start(labels: RunLabels) -> Attributes:
    """A run in a container that is not known yet."""
    whose = _whose(labels.task, labels.run, labels.name, labels.workflow_id, labels.workflow)
    image = {"container.image.name": labels.image} if labels.image else {}
    return {**whose, "container.runtime.name": "docker", **image}


def at_end(held: Held, end: RunFinish | Exception) -> Attributes:
    """What a run came to: how it finished, or what it was broken off by."""
    said: dict[str, str | list[str]] = {RESULT: result(held, end)}
    if held.container is not None:
        said["container.id"] = held.container
    if held.container is not None and held.image is not None and held.labels is not None and held.labels.image:
        said["container.image.repo_digests"] = [f"{repository(held.labels.image)}@{held.image}"]
    return said


def result(held: Held, end: RunFinish | Exception) -> Result:
    """In the words of the conventions for pipelines."""
    if isinstance(end, TooLate):
        return "skip"
    if held.why == "cancel":
        return "cancellation"
    if isinstance(end, Exception) or held.unleased:
        return "error"
    return RESULTS.get(reason_of(end, timed_out=held.why == "timeout"), "error")


def repository(image: str) -> str:
    """An image's name without tag and digest."""
    path, slash, last = image.partition("@")[0].rpartition("/")
    return path + slash + last.partition(":")[0]


def _whose(task: UUID, run: UUID, name: str, workflow_id: str | None, workflow: str | None) -> dict[str, str]:
    said = {"tally.task.id": str(task), "cicd.pipeline.task.name": name, "cicd.pipeline.task.run.id": str(run)}
    if workflow_id is not None and workflow is not None:
        said |= {"cicd.pipeline.name": workflow_id, "cicd.pipeline.run.id": workflow}
    return said
