"""What a platform in memory decides about schedules. They fire when told to; nobody watches the clock there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from adapters.in_memory.event_log import MemoryLog
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
from domain.schedule import Fire, Schedule, fire_stream, schedule_stream, task_stream
from domain.specs import TaskSpec
from domain.task_type import Types
from domain.timetable import MOMENT
from domain.work import Reply, TaskOutcome

Append: TypeAlias = Callable[[UUID, Sequence[e.Event], str, Cause], bool]


@dataclass(frozen=True, slots=True)
class Schedules:
    """`append` adds events to a stream. `types`: those of a namespace that tasks name, as they are now."""

    log: MemoryLog
    append: Append
    types: Callable[[str, Sequence[TaskSpec]], Types]

    def decide(self, command: ScheduleCommand, accepted: Reply, cause: Cause) -> Reply:
        """Record what follows from the command. Raises Rejected."""
        stream, now = schedule_stream(command.namespace, command.schedule_id), self.log.clock.now()
        accepted = accepted.model_copy(update={"schedule_id": command.schedule_id, "id": stream})
        state = schedule_of(self.log.load([stream]).get(stream, ()))
        if isinstance(command, PutSchedule):
            types = self.types(command.namespace, [command.task])
            events = schedule.put(state, command.schedule_id, command.spec(), now, types)
            self.append(stream, events, command.namespace, cause)
            return accepted
        if state is None or state.deleted:
            raise NotFound(f"schedule_id: no schedule {command.schedule_id} in namespace {command.namespace}")
        match command:
            case PauseSchedule():
                self.append(stream, schedule.pause(state, cause.actor), command.namespace, cause)
            case ResumeSchedule():
                self.append(stream, schedule.resume(state, cause.actor), command.namespace, cause)
            case DeleteSchedule():
                self.append(stream, schedule.delete(state, cause.actor), command.namespace, cause)
            case TriggerSchedule(as_if=as_if):
                timetable.check_past("as_if", as_if, now)
                task = self._fire(Fire(state, as_if or self._free(state, now), "trigger"), command.namespace, cause)
                return accepted.model_copy(update={"id": task, "task_id": str(task)})
            case BackfillSchedule():
                return accepted.model_copy(update={"tasks": self._backfill(command, state, cause)})
        return accepted

    def _backfill(self, command: BackfillSchedule, state: Schedule, cause: Cause) -> tuple[TaskOutcome, ...]:
        nominals = timetable.backfilled(state, command.from_, command.to, self.log.clock.now())
        fired = [self._fire(Fire(state, one, "backfill"), command.namespace, cause) for one in nominals]
        return tuple(TaskOutcome(task_id=str(task), id=task, outcome="accepted") for task in fired)

    def _free(self, state: Schedule, nominal: datetime) -> datetime:
        while self._fired(fire_stream(state.id, nominal)):
            nominal += MOMENT
        return nominal

    def _fired(self, stream: UUID) -> e.ScheduleFired | None:
        before = [recorded.event() for recorded in self.log.load([stream]).get(stream, ())]
        return next((event for event in before if isinstance(event, e.ScheduleFired)), None)

    def _fire(self, fire: Fire, namespace: str, cause: Cause) -> UUID:
        if fired := self._fired(fire.stream):
            return fired.task_id
        task = task_stream(fire.stream, self.log.clock.now())
        event, events = fire.events(task, (), self.types(namespace, [fire.schedule.spec.task]))
        self.append(fire.stream, [event], namespace, cause)
        self.append(task, events, namespace, cause)
        return task
