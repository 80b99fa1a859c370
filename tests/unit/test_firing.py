"""When schedules fire: each minute of a year, of zones whose clocks change by an hour and by half of one."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain import firing
from domain.errors import BadSchedule
from domain.firing import Dst, Rule, check_cron, check_zone, due, latest, times

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
POLICIES: tuple[Dst, ...] = ("once", "skip", "twice")
YEAR = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
MINUTE = timedelta(minutes=1)
NONE: list[datetime] = []


def utc(*at: int) -> datetime:
    return datetime(*at, tzinfo=UTC)  # type: ignore[misc,arg-type]


def at(zone: str, text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@cache
def changes(zone: str) -> list[datetime]:
    """The days of the year on which the zone's clock changes."""
    days = [YEAR[0] + timedelta(days=day) for day in range(365)]
    local = [day.astimezone(ZoneInfo(zone)).utcoffset() for day in days]
    return [day for day, before, behind in zip(days, local, local[1:], strict=False) if before != behind]


@cache
def clock(zone: str) -> list[tuple[datetime, datetime, bool, list[datetime]]]:
    """Each minute as it passes: the moment, the wall, whether the wall shows it again, and what it has jumped over."""
    where, moment = ZoneInfo(zone), YEAR[0]
    seen: list[tuple[datetime, datetime, bool, list[datetime]]] = []
    wall = (moment - MINUTE).astimezone(where).replace(tzinfo=None)
    while moment <= YEAR[1]:
        before, local = wall, moment.astimezone(where)
        wall = local.replace(tzinfo=None)
        passed = int((wall - before) / MINUTE)
        jumped = [before + n * MINUTE for n in range(1, passed)] if passed > 1 else NONE
        seen.append((moment, wall, bool(local.fold), jumped))
        moment += MINUTE
    return seen


def expected(
    zone: str, dst: Dst, minutes: set[int], hours: set[int], span: tuple[datetime, datetime]
) -> list[datetime]:
    """What a watcher of the clock on the wall would do, who acts on each minute as it comes."""
    found: list[datetime] = []
    goes_on = dst == "once" and len(hours) == 24
    first, last = (int((one - YEAR[0]) / MINUTE) for one in span)
    for moment, wall, again, jumped in clock(zone)[first : last + 1]:
        late = any(one.minute in minutes and one.hour in hours for one in jumped)
        now = wall.minute in minutes and wall.hour in hours
        if (now and (not again or dst == "twice" or goes_on)) or (late and dst != "skip" and not goes_on):
            found.append(moment)
    return found


def line(minutes: set[int], hours: set[int]) -> str:
    return f"{','.join(map(str, sorted(minutes)))} {','.join(map(str, sorted(hours)))} * * *"


MINUTES = st.sets(st.sampled_from([0, 1, 15, 29, 30, 31, 45, 59]), min_size=1)
HOURS = st.sets(st.integers(0, 4), min_size=1) | st.just(set(range(24)))


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from(POLICIES), MINUTES, HOURS, st.integers(0, 3000))
@example("Europe/Berlin", "twice", {30}, {2}, 1500)
@example("Australia/Lord_Howe", "once", {15, 45}, {1, 2}, 0)
def test_around_each_change_of_the_clock_the_fires_are_those_of_a_watcher_of_the_wall(
    zone: str, dst: Dst, minutes: set[int], hours: set[int], later: int
) -> None:
    rule = Rule(cron=line(minutes, hours), timezone=zone, dst=dst)
    assert len(changes(zone)) == 2
    for day in changes(zone):
        begin, end = day - timedelta(days=1) + later * MINUTE, day + timedelta(days=3)

        fires = due(rule, begin - MINUTE, end, 10_000)

        assert fires == expected(zone, dst, minutes, hours, (begin, end))
        assert latest(rule, begin - MINUTE, end, 7) == fires[-7:]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("dst", POLICIES)
def test_a_year_of_nights_has_the_fires_of_its_policy(zone: str, dst: Dst) -> None:
    minutes, hours = {15, 45}, {1, 2}
    rule = Rule(cron=line(minutes, hours), timezone=zone, dst=dst)

    fires = due(rule, YEAR[0] - MINUTE, YEAR[1], 10_000)

    assert fires == expected(zone, dst, minutes, hours, YEAR)
    once = {"Australia/Lord_Howe": 365 * 4 + 0}.get(zone, 365 * 4 - 1)
    missed, more = (1, 1) if zone == "Australia/Lord_Howe" else (2, 2)
    assert len(fires) == {"once": once, "skip": 365 * 4 - missed, "twice": once + more}[dst]


@pytest.mark.parametrize("zone", ZONES)
def test_a_line_for_every_hour_goes_on_with_the_clock(zone: str) -> None:
    fires = due(Rule(cron="*/15 * * * *", timezone=zone), YEAR[0] - MINUTE, YEAR[1] - MINUTE, 40_000)

    assert fires == [YEAR[0] + timedelta(minutes=15 * n) for n in range(365 * 96)]


def test_a_time_that_is_jumped_over_fires_when_the_clock_has_jumped() -> None:
    rule = Rule(cron="30 2 * * *", timezone="Europe/Berlin")
    assert due(rule, utc(2026, 3, 28, 12), utc(2026, 3, 30), 9) == [utc(2026, 3, 29, 1)]


def test_what_comes_twice_is_found_from_within_its_first_time() -> None:
    rule = Rule(cron="10 2 * * *", timezone="Europe/Berlin", dst="twice")
    first = utc(2026, 10, 25, 0, 10)
    assert next(times(rule, first + timedelta(minutes=30))) == utc(2026, 10, 25, 1, 10)


def test_a_day_that_a_zone_left_out_fires_once_at_the_end_of_it() -> None:
    rule = Rule(cron="0 6,18 * * *", timezone="Pacific/Apia")
    found = due(rule, at("Pacific/Apia", "2011-12-29T12:00"), at("Pacific/Apia", "2011-12-31T12:00"), 9)
    assert found == [
        at("Pacific/Apia", "2011-12-29T18:00"),
        at("Pacific/Apia", "2011-12-31T00:00"),
        at("Pacific/Apia", "2011-12-31T06:00"),
    ]


@given(st.integers(1, 10**6), st.integers(-(10**7), 10**7), st.integers(1, 20))
def test_an_interval_is_counted_from_its_start(seconds: int, offset: int, most: int) -> None:
    start, step = utc(2026, 1, 1), timedelta(seconds=seconds)
    after = start + timedelta(seconds=offset)
    rule = Rule(interval=step, start=start)

    found = list(islice(times(rule, after), most))

    first = start if offset < 0 else start + (offset // seconds + 1) * step
    assert found == [first + n * step for n in range(most)]
    assert latest(rule, after, found[-1], 3) == found[-3:]


def test_an_interval_without_a_start_is_counted_from_1970() -> None:
    rule = Rule(interval=timedelta(minutes=15))
    assert next(times(rule, utc(2026, 1, 1, 0, 1))) == utc(2026, 1, 1, 0, 15)


def test_nothing_fires_before_the_start() -> None:
    rule = Rule(cron="0 * * * *", start=utc(2026, 1, 2))
    assert next(times(rule, utc(2026, 1, 1))) == utc(2026, 1, 2)


def test_one_shot_fires_once() -> None:
    rule = Rule(at=utc(2026, 1, 2))
    assert list(times(rule, utc(2026, 1, 1))) == [utc(2026, 1, 2)]
    assert list(times(rule, utc(2026, 1, 2))) == []


def test_the_last_of_years_of_minutes_are_found_at_once() -> None:
    rule, end = Rule(cron="* * * * *", timezone="Europe/Berlin"), utc(2036, 1, 1)
    assert latest(rule, YEAR[0], end, 2) == [end - MINUTE, end]


@pytest.mark.parametrize("cron", ["* * * 1-5 *", "*/7 * 1-3 2 *", "* 1 * * *", "0-58 * * 1-5 MON-FRI"])
def test_the_last_of_what_is_dense_and_silent_since_are_found_without_going_through_all(cron: str) -> None:
    rule, now = Rule(cron=cron, timezone="Europe/Berlin"), utc(2026, 11, 1, 0, 30)
    asked: list[datetime] = []

    def counted(rule: Rule, after: datetime) -> Iterator[datetime]:
        for one in times(rule, after):
            asked.append(one)
            yield one

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(firing, "times", counted)
        found = latest(rule, utc(2020, 1, 1), now, 3)

    assert len(asked) <= 10
    assert found == due(rule, found[0] - timedelta(days=2), now, 100_000)[-3:]


LINES = st.tuples(
    st.sampled_from(["0", "30", "*/20", "5-10,59", "*"]),
    st.sampled_from(["2", "*", "1-3", "*/6", "23"]),
    st.sampled_from(["*", "1", "29", "L", "25-31"]),
    st.sampled_from(["*", "3", "10", "2-4"]),
    st.sampled_from(["*", "SUN", "7L", "MON-FRI"]),
)
AROUND = st.sampled_from([utc(2026, 3, 29, 1), utc(2026, 10, 25, 1), utc(2026, 4, 4, 15), utc(2026, 10, 3, 15)])


@settings(max_examples=150, deadline=None)
@given(
    LINES.map(" ".join),
    st.sampled_from(ZONES),
    st.sampled_from(POLICIES),
    AROUND,
    st.integers(-300, 300),
    st.integers(0, 60 * 24 * 40),
    st.integers(1, 20),
)
@example("30 2 * * *", "Europe/Berlin", "skip", utc(2026, 3, 29, 1), 0, 60 * 24, 3)
@example("* * * * *", "Europe/Berlin", "twice", utc(2026, 10, 25, 1), 0, 300, 20)
def test_the_last_of_a_span_are_the_last_of_all_that_come_in_it(
    cron: str, zone: str, dst: Dst, near: datetime, minutes: int, length: int, most: int
) -> None:
    rule, until = Rule(cron=cron, timezone=zone, dst=dst), near + minutes * MINUTE + timedelta(seconds=minutes % 3)
    after = until - length * MINUTE
    assert latest(rule, after, until, most) == due(rule, after, until, 100_000)[-most:]


def test_the_last_of_what_is_rare_reach_back_to_the_beginning() -> None:
    assert latest(Rule(cron="0 0 29 2 *"), utc(2020, 1, 1), utc(2030, 1, 1), 5) == [
        utc(2020, 2, 29),
        utc(2024, 2, 29),
        utc(2028, 2, 29),
    ]


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("99 * * * *", "cron: bad minute in 99 * * * *"),
        ("0 0 31 2 *", "cron: bad day-of-month in 0 0 31 2 *"),
        ("0 0 31 2,4,6 *", "cron: bad day-of-month in"),
        ("* * * * * *", "cron: six fields, the first of them seconds; give five, or interval PT1S instead"),
        ("", "cron: 0 fields; give five"),
        ("@fortnightly", "cron: @fortnightly is not known; give one of @hourly"),
        ("@REBOOT", "cron: @REBOOT is not known"),
    ],
)
def test_a_line_that_cannot_be_is_refused_with_the_way_out(cron: str, says: str) -> None:
    with pytest.raises(BadSchedule) as refused:
        check_cron(cron)
    assert refused.value.detail.startswith(says)


@given(st.text("0123456789*/-,#LW SUNMOJA@\u0662", max_size=40))
def test_any_line_is_either_refused_or_fires(cron: str) -> None:
    try:
        check_cron(cron)
    except BadSchedule:
        return
    assert next(times(Rule(cron=cron, timezone="Europe/Berlin"), YEAR[0])) > YEAR[0]


@pytest.mark.parametrize(
    "cron", ["@daily", "@Hourly", "*/5 8-17 * * MON-FRI", "0 0 L * *", "0 9 * * 5L", "0 9 * * 1#2"]
)
def test_lines_that_people_write_are_taken(cron: str) -> None:
    check_cron(cron)
    assert next(times(Rule(cron=cron), YEAR[0])) > YEAR[0]


@pytest.mark.parametrize("zone", ["../../etc/passwd", "/etc/localtime", "Mars/Olympus", "Europe", "localtime", ""])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(BadSchedule, match=r"timezone: .*not in the IANA database"):
        check_zone(zone)


def test_zones_are_taken() -> None:
    for zone in (*ZONES, "UTC", "Etc/GMT+3"):
        check_zone(zone)
