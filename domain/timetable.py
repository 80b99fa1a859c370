"""What a schedule does next of what is due: fire, skip, or rest. Pure.

One step concerns the first time that is due, alone or with those right after it; whoever takes it asks for the next.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from domain import events as e
from domain.errors import BadSchedule
from domain.firing import Rule, due, latest, times
from domain.schedule import Schedule

GRACE = timedelta(minutes=1)
"""A time that is due no longer than this is fired late, not missed."""
MOST_COUNTED = 500
MOST_OPEN = 50
"""How many open tasks a fire waits for; with more it is skipped."""
MOST_FIRES = 1000
"""How many times one backfill may ask for."""
MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Go:
    """Fire for this time."""

    nominal: datetime


@dataclass(frozen=True, slots=True)
class Leave:
    """Do not fire for this time, nor for those after it up to and with `to`. `count`: how many these are; None: more
    than are counted."""

    nominal: datetime
    reason: e.SkipReason
    to: datetime
    count: int | None = 1
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is due until then (None: ever, unless the schedule changes)."""

    until: datetime | None


Step: TypeAlias = Go | Leave | Rest


def step(schedule: Schedule, cursor: datetime, now: datetime, running: int) -> Step:
    """`cursor`: the last time dealt with. `running`: how many of its tasks have not ended."""
    rule, after = schedule.rule, _after(schedule, cursor)
    first = next(times(rule, after), None)
    if schedule.paused or schedule.deleted or first is None:
        return Rest(None)
    if first > now:
        return Rest(first)
    pause = next((one for one in schedule.pauses if first <= one.end), None)
    if pause is not None and pause.begin <= first:
        return _leave(rule, after, pause.end, "paused")
    if first <= now - GRACE and (missed := _missed(schedule, after, first, now)):
        return missed
    full = {"skip": running > 0, "queue": running >= MOST_OPEN, "cancel-running": running >= MOST_OPEN}
    return Leave(first, "overlap", first) if full.get(schedule.spec.overlap) else Go(first)


def following(schedule: Schedule, cursor: datetime) -> datetime | None:
    """When to look next, once all up to `cursor` is dealt with."""
    return next(times(schedule.rule, _after(schedule, cursor)), None)


def backfilled(schedule: Schedule, begin: datetime, end: datetime, now: datetime) -> list[datetime]:
    """The times of its rule that a backfill fires for. Raises BadSchedule."""
    if end < begin:
        raise BadSchedule("to: is before from; exchange them")
    check_past("to", end, now)
    nominals = span(schedule, begin, end)
    if len(nominals) > MOST_FIRES:
        raise BadSchedule(f"to: more than {MOST_FIRES} fires; give a shorter span, and the rest after it")
    return nominals


def span(schedule: Schedule, begin: datetime, end: datetime) -> list[datetime]:
    """Its rule's times from `begin` to `end`, one more than a backfill may have if there are so many."""
    return due(schedule.rule, begin - MOMENT, end, MOST_FIRES + 1)


def check_past(name: str, given: datetime | None, now: datetime) -> None:
    """Raises BadSchedule for a time that is yet to come."""
    if given is not None and given > now:
        raise BadSchedule(f"{name}: {given.isoformat()} is yet to come; give a time that is over")


def _after(schedule: Schedule, cursor: datetime) -> datetime:
    """A time that its user gives was yet to come when that was accepted, though perhaps not when it was recorded."""
    return cursor if schedule.rule.at is not None else max(cursor, schedule.since)


def _missed(schedule: Schedule, after: datetime, first: datetime, now: datetime) -> Leave | None:
    """What is left of missed times, as far as they begin with such; None: the first is made up for."""
    rule, catch_up, until = schedule.rule, schedule.spec.catch_up, now - GRACE
    begins = (pause.begin - MOMENT for pause in schedule.pauses if pause.begin > first)
    together = min(until, next(begins, until))
    if catch_up.within is not None and first < now - catch_up.within:
        return _leave(rule, after, min(now - catch_up.within - MOMENT, together), "window")
    if catch_up.kept == 0:
        return _leave(rule, after, together, "catch-up")
    kept = _latest_missed(schedule, after, until)
    return _leave(rule, after, min(kept - MOMENT, together), "catch-up") if kept > first else None


def _latest_missed(schedule: Schedule, after: datetime, until: datetime) -> datetime:
    """The first of those that are made up for: the last of all that was missed, and not due during a pause."""
    rule, left, kept = schedule.rule, schedule.spec.catch_up.kept, list[datetime]()
    for pause in (one for one in reversed(schedule.pauses) if one.end > after):
        kept = latest(rule, pause.end, until, left - len(kept)) + kept
        if len(kept) == left:
            return kept[0]
        until = min(until, pause.begin - MOMENT)
    return (latest(rule, after, until, left - len(kept)) + kept)[0]


def _leave(rule: Rule, after: datetime, until: datetime, reason: e.SkipReason) -> Leave:
    left = due(rule, after, until, MOST_COUNTED + 1)
    if len(left) <= MOST_COUNTED:
        return Leave(left[0], reason, left[-1], len(left))
    return Leave(left[0], reason, latest(rule, after, until, 1)[0], None)
