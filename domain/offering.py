"""A lease as its worker is told of it. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.events import (
    RunFailed,
    RunLeased,
    RunLost,
    RunStarted,
    RunSucceeded,
    RunTimingOut,
    TaskCancelling,
    TaskSubmitted,
)
from domain.filling import Work
from domain.messages import Cause, compact
from domain.retrying import instead
from domain.work import OfferedRun, RunSpec

RUNS_IN_AN_OFFER, OFFER_CHARACTERS = 100, 256 << 10
OF_A_RUN = frozenset(
    one.TYPE for one in (RunLeased, RunStarted, RunSucceeded, RunFailed, RunLost, TaskCancelling, RunTimingOut)
)
"""What may have happened to a run: it is offered again while its lease is the last of these."""


@dataclass(frozen=True, slots=True)
class Leased:
    """A lease with what its task runs. `cause`: that of the lease."""

    task: UUID
    namespace: str
    lease: RunLeased
    submitted: TaskSubmitted
    work: Work
    cause: Cause


def offered(leased: Leased, cause: Cause) -> OfferedRun:
    """What its worker needs. `cause`: the step that tells it, for its trace context."""
    lease, submitted, work = leased.lease, leased.submitted, leased.work
    container = work.container
    if lease.fallback and container and work.fallback:
        container = instead(container, work.fallback)
    return OfferedRun(
        task_id=leased.task,
        run_id=lease.run_id,
        run=lease.run,
        fence=lease.fence,
        beat=lease.beat,
        within=lease.within,
        spec=RunSpec(
            namespace=leased.namespace,
            name=submitted.spec.name or submitted.task_id,
            executor=submitted.spec.executor,
            container=container,
            input=work.input,
            timeouts=submitted.timeouts.model_copy(update={"queue": None}),
            workflow_id=submitted.workflow_id,
            workflow=submitted.workflow,
        ),
        traceparent=cause.traceparent,
        tracestate=cause.tracestate,
    )


def parts(runs: Sequence[OfferedRun]) -> Iterator[list[OfferedRun]]:
    """`runs` in order, as many together as one message may carry."""
    part, size = list[OfferedRun](), 0
    for run in runs:
        weight = _weight(run.spec)
        if part and (len(part) == RUNS_IN_AN_OFFER or size + weight > OFFER_CHARACTERS):
            yield part
            part, size = [], 0
        part.append(run)
        size += weight
    if part:
        yield part


def _weight(spec: RunSpec) -> int:
    """Characters of what its user wrote into it."""
    container = spec.container
    texts = (*(container.command or ()), *container.env.values()) if container is not None else ()
    return sum(map(len, texts)) + (len(compact(spec.input)) if spec.input is not None else 0)
