"""What each command about a schedule does."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from consumers.batches import Batch, Verdict
from domain import events as e
from domain import schedule, timetable
from domain.commands import (
    BackfillSchedule,
    DeleteSchedule,
    PauseSchedule,
    PutSchedule,
    ResumeSchedule,
    ScheduleCommand,
    TriggerSchedule,
)
from domain.errors import NotFound
from domain.folding import schedule_of
from domain.messages import Cause
from domain.recorded import Recorded
from domain.schedule import Fire, Schedule, fire_stream, schedule_stream, task_stream
from domain.task_type import registered, type_stream
from domain.timetable import MOMENT
from domain.work import Reply, TaskOutcome

EVENTS_A_FIRE = 3


def streams(command: ScheduleCommand) -> set[UUID]:
    """The streams to load before `command` is judged."""
    own = schedule_stream(command.namespace, command.schedule_id)
    match command:
        case TriggerSchedule(as_if=datetime() as nominal):
            return {own, fire_stream(own, nominal)}
        case PutSchedule(task=task, namespace=namespace):
            return {own, *(type_stream(namespace, name) for name in registered([task]))}
        case _:
            return {own}


def further(command: TriggerSchedule | BackfillSchedule, loaded: Mapping[UUID, Sequence[Recorded]]) -> set[UUID]:
    """Those that show only when these are loaded: of the type of its tasks, and of each fire of a backfill."""
    own = schedule_stream(command.namespace, command.schedule_id)
    state = schedule_of(loaded.get(own, ()))
    if state is None:
        return set()
    types = {type_stream(command.namespace, name) for name in registered([state.spec.task])}
    if isinstance(command, TriggerSchedule):
        return types
    return types | {fire_stream(own, one) for one in timetable.span(state, command.from_, command.to)}


def judge_schedule(batch: Batch, command: ScheduleCommand, command_id: UUID, cause: Cause) -> Verdict:
    """Decide `command` on `batch`. Raises Rejected, and then has added nothing."""
    stream = schedule_stream(command.namespace, command.schedule_id)
    state = batch.schedule(stream)
    accepted = Reply(command_id=command_id, outcome="accepted", schedule_id=command.schedule_id, id=stream)
    if isinstance(command, PutSchedule):
        types = batch.types(command.namespace, [command.task])
        events = schedule.put(state, command.schedule_id, command.spec(), batch.now, types)
        return _changed(batch, command, accepted, events, cause)
    if state is None or state.deleted:
        raise NotFound(
            f"schedule_id: no schedule {command.schedule_id} in namespace {command.namespace}; check id and namespace"
        )
    match command:
        case PauseSchedule():
            return _changed(batch, command, accepted, schedule.pause(state, cause.actor), cause)
        case ResumeSchedule():
            return _changed(batch, command, accepted, schedule.resume(state, cause.actor), cause)
        case DeleteSchedule():
            return _changed(batch, command, accepted, schedule.delete(state, cause.actor), cause)
        case TriggerSchedule(as_if=as_if):
            timetable.check_past("as_if", as_if, batch.now)
            fire = Fire(state, as_if or _free(batch, state), "trigger")
            task, version = _fire(batch, command.namespace, fire, cause)
            links = {"task": f"/v1/tasks/{task}"}
            reply = accepted.model_copy(update={"id": task, "task_id": str(task), "version": version, "links": links})
            return Verdict(reply, task, version)
        case BackfillSchedule():
            return _backfill(batch, command, accepted, state, cause)


def _changed(
    batch: Batch, command: ScheduleCommand, accepted: Reply, events: Sequence[e.ScheduleEvent], cause: Cause
) -> Verdict:
    stream = schedule_stream(command.namespace, command.schedule_id)
    version = batch.add(stream, command.namespace, events, cause)
    links = {"schedule": f"/v1/schedules/{stream}"}
    return Verdict(accepted.model_copy(update={"version": version, "links": links}), stream, version)


def _backfill(batch: Batch, command: BackfillSchedule, accepted: Reply, state: Schedule, cause: Cause) -> Verdict:
    nominals = timetable.backfilled(state, command.from_, command.to, batch.now)
    fires = [_fire(batch, command.namespace, Fire(state, one, "backfill"), cause)[0] for one in nominals]
    tasks = tuple(TaskOutcome(task_id=str(task), id=task, outcome="accepted") for task in fires)
    return Verdict(accepted.model_copy(update={"tasks": tasks}), state.id, state.version)


def _free(batch: Batch, state: Schedule) -> datetime:
    """Now, or the first moment after it for which this batch has not fired: each command that names no time is a fire
    of its own."""
    nominal = batch.now
    while batch.fired(fire_stream(state.id, nominal)):
        nominal += MOMENT
    return nominal


def _fire(batch: Batch, namespace: str, fire: Fire, cause: Cause) -> tuple[UUID, int | None]:
    """The task of this fire and its version; None when it was there before."""
    if fired := batch.fired(fire.stream):
        return fired.task_id, None
    task = task_stream(fire.stream, batch.now)
    event, events = fire.events(task, (), batch.types(namespace, [fire.schedule.spec.task]))
    batch.add(fire.stream, namespace, [event], cause)
    return task, batch.add(task, namespace, events, cause)
