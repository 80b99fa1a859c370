"""The clock that leases age on."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.lease_clock import OFFER_TERM, LeaseClock, offer_until, tick
from tests.support.ended_tasks import NOW


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


FRESH = LeaseClock(0.0, after(-1000))
SENT = LeaseClock(50.0, after(-1), probe=7, sent_at=NOW, answered=6, answered_at=after(-0.9))


def answered(clock: LeaseClock, at: datetime) -> LeaseClock:
    return replace(clock, answered=clock.probe, answered_at=at)


def test_the_first_tick_sends_a_probe_and_counts_no_time() -> None:
    assert tick(FRESH, NOW) == LeaseClock(0.0, NOW, probe=1, sent_at=NOW)


def test_a_probe_that_is_on_its_way_is_waited_for() -> None:
    assert tick(SENT, after(1.9)) == SENT


def test_it_advances_to_the_sending_of_a_probe_answered_in_time() -> None:
    clock = answered(SENT, after(0.1))

    assert tick(clock, after(0.2)) == replace(clock, seconds=51.0, advanced_at=NOW)


def test_an_answer_counts_once() -> None:
    clock = tick(answered(SENT, after(0.1)), after(0.2))

    assert tick(clock, after(0.9)) == clock


def test_a_second_after_an_answered_probe_the_next_is_sent() -> None:
    clock = tick(answered(SENT, after(0.1)), after(1.0))

    assert (clock.probe, clock.sent_at, clock.seconds, clock.advanced_at) == (8, after(1.0), 51.0, NOW)


def test_a_probe_not_answered_within_two_seconds_stops_the_clock_and_is_sent_anew() -> None:
    assert tick(SENT, after(2.0)) == replace(SENT, advanced_at=after(2.0), probe=8, sent_at=after(2.0))


def test_a_late_answer_moves_nothing() -> None:
    clock = tick(answered(SENT, after(2.1)), after(2.2))

    assert (clock.seconds, clock.advanced_at, clock.probe) == (50.0, after(2.2), 8)


def test_after_an_outage_the_time_of_the_outage_does_not_count() -> None:
    """An intake that was down for an hour is back: its leases have not aged."""
    clock = SENT
    for second in range(2, 3600, 2):
        clock = tick(clock, after(second))
    clock = tick(answered(clock, after(3598.1)), after(3600))

    assert clock.seconds == SENT.seconds


def test_a_conductor_that_was_down_between_two_probes_costs_leases_two_seconds_at_most() -> None:
    idle = answered(SENT, after(0.1))
    back = tick(idle, after(3600))

    clock = tick(answered(back, after(3600.1)), after(3600.2))

    assert clock.seconds == SENT.seconds + 1 + 2


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_jump_of_the_time_of_day_moves_nothing(jump: float) -> None:
    clock = tick(SENT, after(jump))

    assert (clock.seconds, clock.probe, clock.sent_at, clock.advanced_at) == (50.0, 8, after(jump), after(jump))


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans(), st.floats(0, 5)), max_size=40), st.integers(0, 39))
def test_it_never_runs_ahead_of_real_time_and_no_offer_ends_early(
    rounds: list[tuple[float, bool, float]], at: int
) -> None:
    clock, now = FRESH, NOW
    offered: tuple[datetime, float] | None = None
    for n, (pause, answers, ago) in enumerate(rounds):
        before = clock
        now += timedelta(seconds=pause)
        if answers and clock.sent_at is not None:
            clock = answered(clock, max(clock.sent_at, now - timedelta(seconds=ago)))
        clock = tick(clock, now)
        assert clock.seconds >= before.seconds
        assert clock.seconds <= (now - NOW).total_seconds() + 1e-6
        if n == at:
            offered = now, offer_until(clock, now)
        if offered and clock.seconds >= offered[1]:
            assert (now - offered[0]).total_seconds() >= OFFER_TERM - 1e-6
