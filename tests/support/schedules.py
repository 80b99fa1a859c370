"""Hands that define schedules in the world of a conductor, and see what became of their times."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from domain import events as e
from domain.firing import due
from domain.folding import schedule_of, task_type_of
from domain.messages import Cause
from domain.recorded import NewEvent, new_events
from domain.schedule import Fire, fire_stream, schedule_stream, task_stream
from domain.schedule_spec import ScheduleSpec
from domain.task_type import Types, registered, type_stream
from tests.support.conducting import CAUSE, World

S1 = schedule_stream("default", "S1")
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
NOOP = {"executor": "noop"}
NOMINAL = datetime(2026, 11, 21, 3, tzinfo=UTC)


def spec(**given: Any) -> ScheduleSpec:
    return ScheduleSpec.model_validate({"task": NOOP, **given})


async def define(world: World, at: datetime, name: str = "S1", **given: Any) -> None:
    """A schedule that was put, first or anew, at that time."""
    event = e.ScheduleDefined(schedule_id=name, spec=spec(**given))
    await record(world, event, at, schedule_stream("default", name))


async def record(world: World, event: e.Event, at: datetime, stream: UUID = S1) -> None:
    head = len((await world.load([stream])).get(stream, ()))
    (new,) = new_events(stream, head, "default", [event], CAUSE)
    await world.append_at(new, at)


async def hourly(world: World, since: float, **given: Any) -> datetime:
    """S1, once an hour, the first time so many hours ago: that time."""
    first = await world.now() - since * HOUR
    await define(world, first - SECOND, interval=HOUR, start=first, **given)
    return first


async def fired(world: World, nominals: Sequence[datetime]) -> list[str]:
    """What became of each: its task's id, why it was skipped (and until when), or nothing."""
    streams = [fire_stream(S1, one) for one in nominals]
    loaded = await world.load(streams)
    return [_told([recorded.event() for recorded in loaded.get(one, ())]) for one in streams]


def _told(events: Sequence[e.Event]) -> str:
    match events:
        case []:
            return "-"
        case [e.ScheduleFired(task_id=task)] | [e.FireSkipped(), e.ScheduleFired(task_id=task)]:
            return str(task)
        case [e.FireSkipped(reason=reason, count=count, to=to)]:
            return reason if to is None else f"{reason} {count}"
        case _:
            raise AssertionError(f"no history of a fire: {events}")


async def tasks(world: World, nominals: Sequence[datetime]) -> list[str]:
    """The tasks of those that fired."""
    return [one for one in await fired(world, nominals) if len(one) == 36]


async def trigger(world: World, nominal: datetime) -> str:
    """What the handler does of a trigger."""
    state = schedule_of((await world.load([S1]))[S1])
    assert state is not None
    fire = Fire(state, nominal, "trigger")
    head = len((await world.load([fire.stream])).get(fire.stream, ()))
    task = task_stream(fire.stream, await world.now())
    streams = {name: type_stream("default", name) for name in registered([state.spec.task])}
    loaded = await world.load(list(streams.values()))
    put = {name: task_type_of(loaded[one]) for name, one in streams.items() if one in loaded}
    types = Types("image", {name: one for name, one in put.items() if one is not None})
    event, events = fire.events(task, (), types)
    cause = Cause("trigger", "command", "alice")
    new = new_events(fire.stream, head, "default", [event], cause) + new_events(task, 0, "default", events, cause)
    await world.append(new)
    return str(task)


async def all_times(world: World, since: datetime, name: str = "S1") -> list[datetime]:
    """Every nominal time of S1's present rule up to now."""
    stream = schedule_stream("default", name)
    state = schedule_of((await world.load([stream]))[stream])
    assert state is not None
    return due(state.rule, since, await world.now(), 10_000)


def scheduled(task: UUID = S1, namespace: str = "analytics") -> list[NewEvent]:
    """S1 was defined, skipped two times from NOMINAL on, fired `task` by hand for the first, and was paused."""
    skipped = e.FireSkipped(
        schedule_id="S1", schedule=S1, nominal=NOMINAL, reason="catch-up", to=NOMINAL + HOUR, count=2
    )
    fired = e.ScheduleFired(schedule_id="S1", schedule=S1, nominal=NOMINAL, task_id=task, by="trigger")
    later = e.FireSkipped(schedule_id="S1", schedule=S1, nominal=NOMINAL + HOUR, reason="overlap")
    defined = e.ScheduleDefined(schedule_id="S1", spec=spec(cron="0 * * * *", timezone="Europe/Berlin"))
    return [
        *new_events(S1, 0, namespace, [defined], CAUSE),
        *new_events(fire_stream(S1, NOMINAL), 0, namespace, [skipped, fired], CAUSE),
        *new_events(fire_stream(S1, NOMINAL + HOUR), 0, namespace, [later], CAUSE),
        *new_events(S1, 1, namespace, [e.SchedulePaused(schedule_id="S1", by="alice")], CAUSE),
    ]
