"""Schedules in the conductor: what their events change in its rows, and what is done of those that are due.

One step a schedule and round: its first time that is due is fired, or skipped, alone or with those right after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import thread_time
from uuid import UUID

from consumers import deciding
from consumers.deciding import Draft, Streams, Wish
from domain import events as e
from domain.errors import Rejected
from domain.folding import schedule_of, task_type_of
from domain.messages import Cause
from domain.ports.conducting import Agenda, ConductorTurn, Planned, Rested, ScheduleNotes
from domain.recorded import Recorded
from domain.schedule import Fire, Schedule, fire_stream, task_stream
from domain.task import Cancel
from domain.task_type import TaskType, Types, registered, type_stream
from domain.timetable import Go, Leave, Rest, Step, following, step

ACTOR = "timekeeper"
EVENTS_A_ROUND = 100
EVENTS_A_FIRE = 3
TYPES = [
    e.ScheduleDefined.TYPE,
    e.SchedulePaused.TYPE,
    e.ScheduleResumed.TYPE,
    e.ScheduleDeleted.TYPE,
    e.ScheduleFired.TYPE,
    e.FireSkipped.TYPE,
]


@dataclass(slots=True)
class Seen:
    """What a page says of schedules. `looks`: when to look at each (None: not at all)."""

    looks: dict[UUID, datetime | None] = field(default_factory=dict[UUID, datetime | None])
    gone: dict[UUID, None] = field(default_factory=dict[UUID, None])
    passed: dict[UUID, datetime] = field(default_factory=dict[UUID, datetime])
    opened: dict[UUID, UUID] = field(default_factory=dict[UUID, UUID])

    def see(self, recorded: Recorded, event: e.ScheduleEvent | e.FireEvent) -> None:
        """One more event."""
        stream = recorded.stream
        match event:
            case e.ScheduleDefined() | e.ScheduleResumed():
                self.looks[stream] = recorded.recorded_at
            case e.SchedulePaused():
                self.looks[stream] = None
            case e.ScheduleDeleted():
                self.looks.pop(stream, None)
                self.gone[stream] = None
            case e.ScheduleFired(schedule=schedule, nominal=nominal, task_id=task, by=by):
                self.opened[task] = schedule
                if by is None:
                    self._pass(schedule, nominal)
            case e.FireSkipped(schedule=schedule, nominal=nominal, to=to):
                self._pass(schedule, to or nominal)

    def _pass(self, schedule: UUID, moment: datetime) -> None:
        self.passed[schedule] = max(self.passed.get(schedule, moment), moment)

    def notes(self) -> ScheduleNotes:
        """All of it."""
        return ScheduleNotes(self.looks, tuple(self.gone), self.passed, self.opened)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a schedule that is to be looked at does next. `fire`: the stream of its first time that is due."""

    row: Planned
    state: Schedule
    step: Step
    fire: UUID | None = None


@dataclass(slots=True)
class Done:
    """Rows that are dealt with."""

    rested: list[Rested] = field(default_factory=list[Rested])
    opened: dict[UUID, UUID] = field(default_factory=dict[UUID, UUID])


def needs(agenda: Agenda) -> set[UUID]:
    """The streams of the schedules to look at."""
    return {row.schedule for row in agenda.planned}


async def look(
    turn: ConductorTurn, agenda: Agenda, loaded: dict[UUID, list[Recorded]], now: datetime
) -> Sequence[Plan]:
    """What each does next, of as many as a round may add the events of; the others stay due. Loads the streams of these
    times, of the types of their tasks, and of the tasks that would be cancelled."""
    plans, room = list[Plan](), EVENTS_A_ROUND
    for row in agenda.planned:
        if plan := _plan(row, loaded, now):
            room -= _most(plan)
            if room < 0:
                break
            plans.append(plan)
    wanted = {plan.fire for plan in plans if plan.fire is not None}
    for plan in plans:
        if isinstance(plan.step, Go):
            wanted |= set(_types(loaded, plan.state).values())
            wanted |= set(plan.row.open if plan.state.spec.overlap == "cancel-running" else ())
    if more := wanted - loaded.keys():
        loaded.update(await turn.load(sorted(more)))
    return plans


def _put(loaded: Streams, state: Schedule) -> dict[str, TaskType]:
    found = {name: task_type_of(loaded.get(stream, ())) for name, stream in _types(loaded, state).items()}
    return {name: one for name, one in found.items() if one is not None}


def _types(loaded: Streams, state: Schedule) -> dict[str, UUID]:
    """The streams of the registered types that a schedule's tasks have, by name."""
    namespace = loaded[state.id][0].namespace
    return {name: type_stream(namespace, name) for name in registered([state.spec.task])}


def _plan(row: Planned, loaded: Streams, now: datetime) -> Plan | None:
    state = schedule_of(loaded.get(row.schedule, ()))
    if state is None:
        return None
    one = step(state, row.done_to, now, len(row.open))
    return Plan(row, state, one, None if isinstance(one, Rest) else fire_stream(state.id, one.nominal))


def carry_out(draft: Draft, plans: Sequence[Plan], base_image: str) -> Done:
    """The events of what is due. What has to wait stays due."""
    done, end = Done(), thread_time() + deciding.MOST_SECONDS
    for plan in plans:
        _carry_out(draft, plan, base_image, done)
        if thread_time() >= end:
            break
    return done


def _most(plan: Plan) -> int:
    """How many events its step may add."""
    if not isinstance(plan.step, Go):
        return 0 if isinstance(plan.step, Rest) else 1
    return EVENTS_A_FIRE + len(plan.row.open) if plan.state.spec.overlap == "cancel-running" else EVENTS_A_FIRE


def _carry_out(draft: Draft, plan: Plan, base_image: str, done: Done) -> None:
    state, one, fire = plan.state, plan.step, plan.fire
    if isinstance(one, Rest) or fire is None:
        assert isinstance(one, Rest), "what is due has a stream"
        done.rested.append(Rested(state.id, plan.row.done_to, one.until))
        return
    if known := draft.loaded.get(fire):
        done.rested.append(_rested(state, _covered(known[0].event(), one.nominal)))
        return
    if fire in draft.left or (isinstance(one, Go) and not _may_cancel(draft, plan)):
        return
    left = one if isinstance(one, Leave) else _fire(draft, plan, one, base_image, done)
    if left is not None:
        _add(draft, fire, [_skipped(state, left)], plan)
    done.rested.append(_rested(state, left.to if left else one.nominal))


def _fire(draft: Draft, plan: Plan, go: Go, base_image: str, done: Done) -> Leave | None:
    """Add the fire and its task; the way out when the task is refused."""
    state, open_tasks = plan.state, plan.row.open
    fire = Fire(state, go.nominal)
    task = task_stream(fire.stream, draft.now)
    waits_for = () if state.spec.overlap == "allow" else open_tasks
    try:
        fired, events = fire.events(task, waits_for, Types(base_image, _put(draft.loaded, state)))
    except Rejected as rejected:
        return Leave(go.nominal, "refused", go.nominal, detail=rejected.detail)
    _add(draft, fire.stream, [fired], plan)
    _add(draft, task, events, plan)
    done.opened[task] = state.id
    if state.spec.overlap == "cancel-running":
        for other in open_tasks:
            reason = f"{state.schedule_id} fires again"
            draft.decide(Wish(other, Cancel(ACTOR, reason), _cause(draft, plan)))
    return None


def _may_cancel(draft: Draft, plan: Plan) -> bool:
    return plan.state.spec.overlap != "cancel-running" or all(map(draft.undecided, plan.row.open))


def _skipped(state: Schedule, leave: Leave) -> e.FireSkipped:
    alone = leave.to == leave.nominal
    return e.FireSkipped(
        schedule_id=state.schedule_id,
        schedule=state.id,
        nominal=leave.nominal,
        reason=leave.reason,
        to=None if alone else leave.to,
        count=None if alone else leave.count,
        detail=leave.detail,
    )


def _covered(first: e.Event, nominal: datetime) -> datetime:
    """Up to where a time's stream says that all is dealt with."""
    return first.to or nominal if isinstance(first, e.FireSkipped) else nominal


def _rested(state: Schedule, done_to: datetime) -> Rested:
    return Rested(state.id, done_to, following(state, done_to))


def _add(draft: Draft, stream: UUID, events: Sequence[e.Event], plan: Plan) -> None:
    draft.begin(stream, draft.loaded[plan.state.id][0].namespace, events, _cause(draft, plan))


def _cause(draft: Draft, plan: Plan) -> Cause:
    """Each fire begins a chain, because of the schedule as it is."""
    last = draft.loaded[plan.state.id][-1]
    return Cause(str(plan.fire), str(last.event_id), ACTOR)
