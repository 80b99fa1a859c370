"""When a schedule is to fire: from its rule to moments. Pure: the rules of time zones are data.

Cron lines are read on the wall of their zone, and each time on the wall is then turned into the moments at which it is
that time: none when the clock jumps over it, two when it is put back.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from heapq import heappop, heappush
from itertools import islice, takewhile
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from domain.errors import BadSchedule

Dst: TypeAlias = Literal["once", "skip", "twice"]
"""What becomes of a time that the clock jumps over, and of one that comes twice. `once`: the first moment after, and
the first of both; but a line that begins its minutes or hours with `*` just goes on with the clock. `skip`: nothing,
and the first of both. `twice`: the first moment after, and both."""

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
FIELDS, HOURS = 5, 24
SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """One of `cron`, `interval` and `at`. Nothing fires before `start`, from which on an interval is counted; without
    it, from 1970 on."""

    cron: str | None = None
    interval: timedelta | None = None
    at: datetime | None = None
    timezone: str = "UTC"
    dst: Dst = "once"
    start: datetime | None = None


def times(rule: Rule, after: datetime) -> Iterator[datetime]:
    """The moments (UTC) after `after` at which `rule` is to fire, in order; without end, or to the last there is."""
    if rule.start is not None:
        after = max(after, rule.start - MICROSECOND)
    if rule.at is not None:
        return iter([rule.at] if rule.at > after else [])
    if rule.interval is not None:
        return _intervals(rule.start or datetime(1970, 1, 1, tzinfo=UTC), rule.interval, after)
    return _cron(rule, after)


def due(rule: Rule, after: datetime, until: datetime, most: int) -> list[datetime]:
    """The first `most` of those after `after`, up to and with `until`."""
    return list(islice(takewhile(lambda one: one <= until, times(rule, after)), most))


def latest(rule: Rule, after: datetime, until: datetime, most: int) -> list[datetime]:
    """The last `most` of those after `after`, up to and with `until`: however many there are, few are looked at."""
    number = most
    while True:
        begin = max(after, _back(rule, after, until, number))
        found = list(takewhile(lambda one: one <= until, times(rule, begin)))
        if len(found) >= most or begin == after:
            return found[-most:]
        number *= 2


def _back(rule: Rule, after: datetime, until: datetime, number: int) -> datetime:
    """A moment with about so many of its times between it and `until`, for few of them are left out, or come twice;
    `after`, or one before it, when there are fewer."""
    if rule.interval is not None:
        return until - rule.interval * number
    if rule.cron is None:
        return after
    zone = ZoneInfo(rule.timezone)
    walls = CronSim(_line(rule.cron), until.astimezone(zone).replace(tzinfo=None) + SECOND, reverse=True)
    moments = (wall.replace(tzinfo=UTC) - max(_offsets(wall, zone)) - MICROSECOND for wall in walls)
    found = list(islice(takewhile(lambda one: one > after, moments), number))
    return found[-1] if len(found) == number else after


def check_cron(cron: str) -> None:
    """Raises BadSchedule for a line that cannot be read, or that never fires."""
    line = _line(cron)
    if cron.startswith("@") and line == cron:
        raise BadSchedule(f"cron: {cron:.80} is not known; give one of {', '.join(ALIASES)}, or five fields")
    if (given := len(line.split())) == FIELDS + 1:
        raise BadSchedule("cron: six fields, the first of them seconds; give five, or interval PT1S instead")
    if given != FIELDS:
        raise BadSchedule(f"cron: {given} fields; give five: minute, hour, day of month, month, day of week")
    try:
        first = next(CronSim(line, datetime(2000, 1, 1)), None)  # noqa: DTZ001 - a time on the wall
    except CronSimError as error:
        raise BadSchedule(f"cron: {str(error).lower()} in {cron:.80}; see man 5 crontab") from None
    if first is None:
        raise BadSchedule(f"cron: {cron:.80} never comes; give a day that its months have")


def check_zone(timezone: str) -> None:
    """Raises BadSchedule for what is no zone of the IANA database."""
    if timezone not in zones():
        raise BadSchedule(f"timezone: {timezone:.80} is not in the IANA database; give a name such as Europe/Berlin")


@cache
def zones() -> frozenset[str]:
    """The names of all zones; not what a machine calls its own."""
    return frozenset(available_timezones()) - {"localtime", "Factory"}


def _line(cron: str) -> str:
    return ALIASES.get(cron.lower(), cron)


def _intervals(start: datetime, interval: timedelta, after: datetime) -> Iterator[datetime]:
    number = max((after - start) // interval + 1, 0)
    while True:
        yield start + number * interval
        number += 1


def _cron(rule: Rule, after: datetime) -> Iterator[datetime]:
    line, zone = _line(rule.cron or ""), ZoneInfo(rule.timezone)
    walls = CronSim(line, _first_wall(after, zone))
    goes_on = rule.dst == "once" and len(walls.hours) == HOURS
    pending: list[datetime] = []
    last = after
    for wall in walls:
        moments = _moments(wall, zone, "goes on" if goes_on else rule.dst)
        while pending and moments and pending[0] <= moments[0]:
            if (moment := heappop(pending)) > last:
                yield (last := moment)
        for moment in moments:
            heappush(pending, moment)
    while pending:
        if (moment := heappop(pending)) > last:
            yield (last := moment)


def _first_wall(after: datetime, zone: ZoneInfo) -> datetime:
    """A time on the wall before all that come later: when it comes twice, the times between come again too."""
    wall = after.astimezone(zone).replace(tzinfo=None)
    before, behind = _offsets(wall, zone)
    return wall - max(before - behind, timedelta(0))


def _offsets(wall: datetime, zone: ZoneInfo) -> tuple[timedelta, timedelta]:
    first = wall.replace(tzinfo=zone).utcoffset()
    second = wall.replace(tzinfo=zone, fold=1).utcoffset()
    assert first is not None, "zones have offsets"
    assert second is not None, "zones have offsets"
    return first, second


def _moments(wall: datetime, zone: ZoneInfo, dst: Dst | Literal["goes on"]) -> list[datetime]:
    """When it is this time on the wall, as the policy wants it."""
    before, behind = _offsets(wall, zone)
    at_first, at_last = wall.replace(tzinfo=UTC) - before, wall.replace(tzinfo=UTC) - behind
    if before == behind:
        return [at_first]
    if before > behind:
        return [at_first, at_last] if dst in {"twice", "goes on"} else [at_first]
    return [] if dst in {"skip", "goes on"} else [_jump(at_last, at_first, zone)]


def _jump(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The moment between these at which the zone's offset changes."""
    behind = high.astimezone(zone).utcoffset()
    while high - low > SECOND:
        middle = low + (high - low) // SECOND // 2 * SECOND
        if middle.astimezone(zone).utcoffset() == behind:
            high = middle
        else:
            low = middle
    return high
