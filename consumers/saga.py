"""A finished task frees or skips what depended on it; a workflow's end and cancellation reach across its tasks."""

from collections.abc import Iterable
from uuid import UUID

from consumers.deciding import Streams, Wish
from domain import events as e
from domain import workflow
from domain.dependencies import settle
from domain.folding import task_of
from domain.ports.conducting import Agenda, Complete, Settled
from domain.recorded import Recorded
from domain.task import Cancel

ACTOR = "saga"


def needs(agenda: Agenda) -> set[UUID]:
    """The streams that the wishes below are decided on or caused by."""
    return {
        *(stream for cancel in agenda.cancels for stream in cancel),
        *(stream for settled in agenda.settled for stream in (settled.task, settled.cause)),
        *(stream for complete in agenda.complete for stream in (complete.workflow, complete.last)),
        *(stream for failing in agenda.failing for stream in failing),
    }


def cancels(agenda: Agenda, loaded: Streams) -> Iterable[Wish]:
    """Each task of a cancelled workflow is cancelled."""
    causes: dict[UUID, tuple[Recorded, Cancel]] = {}
    for task, cancelled in agenda.cancels:
        if cancelled not in causes:
            causes[cancelled] = _cancellation(loaded, cancelled)
        recorded, command = causes[cancelled]
        yield Wish(task, command, recorded.following(ACTOR))


def settlement(settled: Settled, loaded: Streams) -> Wish:
    """A blocked task is freed or skipped as its dependencies have ended."""
    command = settle(settled.standings)
    assert command is not None, "a settled task has nothing left to wait for"
    return Wish(settled.task, command, _last(loaded, settled.cause, e.ENDS).following(ACTOR))


def finish(complete: Complete, loaded: Streams) -> Wish:
    """A workflow all of whose tasks have ended is finished."""
    cause = _last(loaded, complete.last, e.ENDS).following(ACTOR)
    return Wish(complete.workflow, workflow.Finish(complete.counts), cause)


def failure(one: UUID, failed: UUID, loaded: Streams) -> Wish:
    """A workflow that fails fast is cancelled for the task `failed`."""
    end = _last(loaded, failed, e.ENDS)
    name = task_of(loaded[failed]).task_id
    return Wish(one, workflow.failing_fast(ACTOR, name), end.following(ACTOR))


def _cancellation(loaded: Streams, cancelled: UUID) -> tuple[Recorded, Cancel]:
    recorded = _last(loaded, cancelled, {e.WorkflowCancelled.TYPE})
    event = recorded.event()
    assert isinstance(event, e.WorkflowCancelled), "chosen by its type"
    return recorded, Cancel(event.by, event.reason)


def _last(loaded: Streams, stream: UUID, types: Iterable[str]) -> Recorded:
    wanted = frozenset(types)
    return next(recorded for recorded in reversed(loaded[stream]) if recorded.type in wanted)
