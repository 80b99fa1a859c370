"""A finished task frees or skips what depended on it; a workflow's end and cancellation reach across its tasks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import thread_time
from typing import TypeAlias
from uuid import UUID

from consumers import deciding
from consumers.deciding import Streams, Wish
from domain import events as e
from domain import workflow
from domain.dependencies import settle
from domain.ends import known
from domain.folding import task_of
from domain.ports.conducting import Agenda, Complete, Settled
from domain.recorded import Recorded
from domain.task import Cancel, Free, Gather

ACTOR = "saga"
Readings: TypeAlias = Mapping[UUID, Mapping[str, UUID]]


def needs(agenda: Agenda) -> set[UUID]:
    """The streams that the wishes below are decided on or caused by."""
    return {
        *(stream for cancel in agenda.cancels for stream in cancel),
        *(stream for settled in agenda.settled for stream in (settled.task, settled.cause)),
        *(one for complete in agenda.complete for one in (complete.workflow, complete.last) if one is not None),
        *(stream for failing in agenda.failing for stream in failing),
    }


FILLS, READS = 40, 200
"""In a round: tasks that are filled, and the streams that their templates read, unless one task alone reads more."""


def reading(agenda: Agenda, loaded: Streams) -> Readings:
    """What the settled tasks read of others, task -> name -> stream: as many of them as one round fills."""
    chosen: dict[UUID, Mapping[str, UUID]] = {}
    streams = set[UUID]()
    for settled in agenda.settled:
        if read := _read_by(settled, loaded):
            if len(chosen) == FILLS or (chosen and len(streams | {*read.values()}) > READS):
                break
            chosen[settled.task] = read
            streams |= {*read.values()}
    return chosen


def cancels(agenda: Agenda, loaded: Streams) -> Iterable[Wish]:
    """Each task of a cancelled workflow is cancelled, each child of a cancelled task."""
    causes: dict[UUID, tuple[Recorded, Cancel]] = {}
    for task, cancelled in agenda.cancels:
        if cancelled not in causes:
            causes[cancelled] = _cancellation(loaded, cancelled)
        recorded, command = causes[cancelled]
        yield Wish(task, command, recorded.following(ACTOR))


def settlements(agenda: Agenda, loaded: Streams, readings: Readings) -> Iterator[tuple[Settled, Wish | None]]:
    """As `settlement` has it; what is to be filled waits for a later round when others, decided before it is asked for,
    have taken long."""
    end, filled = thread_time() + deciding.MOST_SECONDS, False
    for one in agenda.settled:
        late = filled and one.task in readings and thread_time() >= end
        filled |= one.task in readings
        yield one, None if late else settlement(one, loaded, readings)


def settlement(settled: Settled, loaded: Streams, readings: Readings) -> Wish | None:
    """A blocked task is freed or skipped as its dependencies have ended. None: it is filled in a later round."""
    command = settle(settled.standings)
    assert command is not None, "a settled task has nothing left to wait for"
    if settled.task in readings:
        ends = {name: end_of(loaded.get(stream, ())) for name, stream in readings[settled.task].items()}
        command = Free({name: known(end) for name, end in ends.items() if end is not None})
    elif _read_by(settled, loaded):
        return None
    return Wish(settled.task, command, _last(loaded, settled.cause, e.ENDS).following(ACTOR))


def finish(complete: Complete, loaded: Streams) -> Wish:
    """A workflow all of whose tasks have ended is finished; a task all of whose children have ends."""
    whole, last = loaded[complete.workflow], complete.last
    cause = (whole[-1] if last is None else _last(loaded, last, e.ENDS)).following(ACTOR)
    of_children = whole[0].type == e.TaskSubmitted.TYPE
    return Wish(complete.workflow, (Gather if of_children else workflow.Finish)(complete.counts), cause)


def failure(one: UUID, failed: UUID, loaded: Streams) -> Wish:
    """A workflow that fails fast is cancelled for the task `failed`."""
    end = _last(loaded, failed, e.ENDS)
    name = task_of(loaded[failed]).task_id
    return Wish(one, workflow.failing_fast(ACTOR, name), end.following(ACTOR))


def _read_by(settled: Settled, loaded: Streams) -> Mapping[str, UUID]:
    """The tasks that a task reads when it is freed. Nearly all read none, and are told without reading the event."""
    rows = loaded.get(settled.task)
    if not rows or b'"reads":' not in rows[0].body or settle(settled.standings) != Free():
        return {}
    submitted = rows[0].event()
    assert isinstance(submitted, e.TaskSubmitted), "a task's stream begins with its submission"
    return {one.task_id: one.stream for one in submitted.depends_on if one.task_id in (submitted.reads or ())}


def end_of(rows: Sequence[Recorded]) -> e.Event | None:
    """How a task has ended, if it has."""
    return next((row.event() for row in reversed(rows) if row.type in e.ENDS), None)


def _cancellation(loaded: Streams, cancelled: UUID) -> tuple[Recorded, Cancel]:
    recorded = _last(loaded, cancelled, {e.WorkflowCancelled.TYPE, e.TaskRecalled.TYPE})
    event = recorded.event()
    assert isinstance(event, e.WorkflowCancelled | e.TaskRecalled), "chosen by its type"
    return recorded, Cancel(event.by, event.reason, event.grace if isinstance(event, e.TaskRecalled) else None)


def _last(loaded: Streams, stream: UUID, types: Iterable[str]) -> Recorded:
    wanted = frozenset(types)
    return next(recorded for recorded in reversed(loaded[stream]) if recorded.type in wanted)
