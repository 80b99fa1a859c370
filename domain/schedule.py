"""A schedule: its definition, whether it is paused, whether it is gone; and the task that a fire makes. Pure.

A fire has a stream of its own, so that a schedule's does not grow with them. Its id follows from schedule and nominal
time alone: whoever fires, or skips, a time for the second time finds the stream taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from domain import events as e
from domain.errors import BadSchedule, Rejected, TemplateNotADependency
from domain.firing import Rule, check_cron, check_zone
from domain.ids import derived_id
from domain.schedule_spec import ScheduleSpec
from domain.specs import Container, DependsOn, Job, TaskSpec
from domain.submitting import submit_task
from domain.task_type import Types

MOST_ENV = 254
_LONGEST = {"TALLY_SCHEDULE": "x" * 128, "TALLY_NOMINAL": "2026-11-22T00:00:00.000000Z"}
"""What a fire may tell its task."""
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Pause:
    """From when a schedule was paused to when it was resumed."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Schedule:
    """`since`: from when on its present rule holds. `paused_at`: when it was paused, if it is; `pauses`: those that are
    over, in order."""

    id: UUID
    version: int
    schedule_id: str
    spec: ScheduleSpec
    since: datetime
    paused_at: datetime | None = None
    deleted: bool = False
    pauses: tuple[Pause, ...] = ()

    @property
    def paused(self) -> bool:
        return self.paused_at is not None

    @property
    def rule(self) -> Rule:
        return self.spec.rule


def schedule_stream(namespace: str, schedule_id: str) -> UUID:
    """The stream of a schedule: derived, so that every command finds it."""
    return derived_id(UUID(int=0), f"schedule:{namespace}:{schedule_id}")


def fire_stream(schedule: UUID, nominal: datetime) -> UUID:
    """The stream of what became of one nominal time."""
    return derived_id(_at(nominal, schedule), f"fire:{nominal.isoformat()}")


def task_stream(fire: UUID, now: datetime) -> UUID:
    """The stream of the task that a fire makes now; by its id it stands among the tasks that are submitted now."""
    return derived_id(_at(now, fire), "task")


def _at(moment: datetime, parent: UUID) -> UUID:
    milliseconds = (moment - datetime.fromtimestamp(0, moment.tzinfo)) // MILLISECOND
    return UUID(int=milliseconds << 80 | parent.int & (1 << 80) - 1)


def put(
    schedule: Schedule | None, schedule_id: str, spec: ScheduleSpec, now: datetime, types: Types
) -> list[e.ScheduleEvent]:
    """Define it, anew or differently; nothing when it is so. `types`: as they are now. Raises as `check`."""
    if schedule is not None and not schedule.deleted and schedule.spec == spec:
        return []
    check(spec, now, types)
    return [e.ScheduleDefined(schedule_id=schedule_id, spec=spec)]


def pause(schedule: Schedule, by: str) -> list[e.ScheduleEvent]:
    """It fires no more until it is resumed; nothing when it is so."""
    return [] if schedule.paused else [e.SchedulePaused(schedule_id=schedule.schedule_id, by=by)]


def resume(schedule: Schedule, by: str) -> list[e.ScheduleEvent]:
    """It fires again; nothing when it does."""
    return [e.ScheduleResumed(schedule_id=schedule.schedule_id, by=by)] if schedule.paused else []


def delete(schedule: Schedule, by: str) -> list[e.ScheduleEvent]:
    """It is gone, and its name free; its tasks stay as they are."""
    return [e.ScheduleDeleted(schedule_id=schedule.schedule_id, by=by)]


def evolve(schedule: Schedule | None, id: UUID, event: e.Event, at: datetime) -> Schedule:
    """The state after `event`, the next of the stream `id`, recorded at `at`."""
    match schedule, event:
        case None, e.ScheduleDefined(schedule_id=schedule_id, spec=spec):
            return Schedule(id, 1, schedule_id, spec, at)
        case Schedule(version=version, deleted=True), e.ScheduleDefined(schedule_id=schedule_id, spec=spec):
            return Schedule(id, version + 1, schedule_id, spec, at)
        case Schedule(version=version, rule=rule, since=since), e.ScheduleDefined(spec=spec):
            return replace(schedule, version=version + 1, spec=spec, since=since if rule == spec.rule else at)
        case Schedule(version=version), e.SchedulePaused():
            return replace(schedule, version=version + 1, paused_at=at)
        case Schedule(version=version, paused_at=datetime() as begin, pauses=pauses), e.ScheduleResumed():
            return replace(schedule, version=version + 1, paused_at=None, pauses=(*pauses, Pause(begin, at)))
        case Schedule(version=version), e.ScheduleDeleted():
            return replace(schedule, version=version + 1, deleted=True)
        case _:
            raise ValueError(f"stream {id}: {event.TYPE} cannot follow here")


def check(spec: ScheduleSpec, now: datetime, types: Types) -> None:
    """Raises BadSchedule for what can never fire, or whose tasks could not be submitted; that of the submission."""
    given = [name for name in ("cron", "interval", "at") if getattr(spec, name) is not None]
    if len(given) != 1:
        said = " and ".join(given) + " are given" if given else "it is not said when to fire"
        raise BadSchedule(f"cron: {said}; give one of cron, interval and at")
    if spec.cron is None and (wrong := next((name for name in ("timezone", "dst") if getattr(spec, name)), None)):
        raise BadSchedule(f"{wrong}: is for cron; leave it out beside {given[0]}, which needs none")
    if spec.cron is not None:
        check_cron(spec.cron)
    check_zone(spec.timezone or "UTC")
    if spec.at is not None and spec.at <= now:
        raise BadSchedule(f"at: {spec.at.isoformat()} is over; give a later time, or submit the task itself")
    if spec.at is not None and spec.start is not None:
        raise BadSchedule("start: is for cron and interval; leave it out beside at")
    _check_task(spec.task, types)


def _check_task(task: TaskSpec, types: Types) -> None:
    for name, way_out in (
        ("task_id", "each fire makes a new task; leave it out"),
        ("depends_on", "a schedule waits for its time alone; leave it out"),
        ("not_before", "a schedule says when; leave it out"),
        ("expires_at", "it is the same for every fire; give timeouts.queue instead"),
    ):
        if getattr(task, name):
            raise BadSchedule(f"task.{name}: {way_out}")
    if task.for_each is not None:
        _check_child(task.for_each.task)
    container = (task.for_each.task if task.for_each else task).container
    if container is not None and len(container.env) > MOST_ENV:
        raise BadSchedule(f"task.container.env: more than {MOST_ENV} variables; a fire adds two of its own")
    _check_submission(task, types)


def _check_child(child: Job) -> None:
    for name in ("not_before", "expires_at"):
        if getattr(child, name):
            raise BadSchedule(f"task.for_each.task.{name}: it is the same for every fire; leave it out")


def _check_submission(task: TaskSpec, types: Types) -> None:
    """What is refused now would be refused at every fire, unless its type changes."""
    anyone = UUID(int=0)
    try:
        submitted, *_ = submit_task(_telling(task, _LONGEST), anyone, {}, types)
        assert isinstance(submitted, e.TaskSubmitted), "a task begins with its submission"
        _check_type(submitted)
    except TemplateNotADependency:
        raise BadSchedule("task: a template reads another task, but a schedule waits for none; take it out") from None
    except Rejected as rejected:
        detail = rejected.detail.removesuffix(f" (task {anyone})")
        raise type(rejected)(f"task.{detail}", rejected.errors) from None


def _check_type(submitted: e.TaskSubmitted) -> None:
    if submitted.spec.container is None and submitted.container and len(submitted.container.env) > MOST_ENV:
        name = submitted.spec.task_type
        raise BadSchedule(f"task_type: {name} has more than {MOST_ENV} variables in env; a fire adds two of its own")


@dataclass(frozen=True, slots=True)
class Fire:
    """One nominal time of a schedule that is to become a task. `by`: what a person asked for; None: its time came."""

    schedule: Schedule
    nominal: datetime
    by: e.FiredBy | None = None

    @property
    def stream(self) -> UUID:
        return fire_stream(self.schedule.id, self.nominal)

    def events(self, task: UUID, waits_for: Sequence[UUID], types: Types) -> tuple[e.ScheduleFired, list[e.TaskEvent]]:
        """The fire, and the first events of `task`, which waits for the ends of some; its type is as it is now, one of
        `types`. Raises Rejected."""
        schedule_id = self.schedule.schedule_id
        nominal = self.nominal.isoformat().replace("+00:00", "Z")
        told = {"TALLY_SCHEDULE": schedule_id, "TALLY_NOMINAL": nominal}
        spec = self._task(told, waits_for)
        submitted, *rest = submit_task(spec, task, {str(one): one for one in waits_for}, types)
        assert isinstance(submitted, e.TaskSubmitted), "a task begins with its submission"
        _check_type(submitted)
        update: dict[str, object] = {"schedule_id": schedule_id, "nominal": self.nominal}
        if submitted.container is not None:
            update["container"] = _told(submitted.container, told)
        if submitted.filled is not None and submitted.filled.container is not None:
            container = _told(submitted.filled.container, told)
            update["filled"] = submitted.filled.model_copy(update={"container": container})
        fired = e.ScheduleFired(
            schedule_id=schedule_id, schedule=self.schedule.id, nominal=self.nominal, task_id=task, by=self.by
        )
        return fired, [submitted.model_copy(update=update), *rest]

    def _task(self, told: dict[str, str], waits_for: Sequence[UUID]) -> TaskSpec:
        spec = self.schedule.spec.task
        update: dict[str, object] = {"name": spec.name or self.schedule.schedule_id}
        if waits_for:
            update["depends_on"] = tuple(DependsOn(task_id=str(one), when="always") for one in waits_for)
        return _telling(spec, told).model_copy(update=update)


def _telling(spec: TaskSpec, told: dict[str, str]) -> TaskSpec:
    if spec.container is not None:
        return spec.model_copy(update={"container": _told(spec.container, told)})
    if spec.for_each is not None and (container := spec.for_each.task.container) is not None:
        child = spec.for_each.task.model_copy(update={"container": _told(container, told)})
        return spec.model_copy(update={"for_each": spec.for_each.model_copy(update={"task": child})})
    return spec


def _told(container: Container, told: dict[str, str]) -> Container:
    return container.model_copy(update={"env": {**container.env, **told}})
