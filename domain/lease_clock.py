"""The clock that leases age on: it advances only while beats are seen to come through. Pure.

A probe is sent through the queue of the beats each second. Once it is answered, every beat sent before it has been
dealt with, so leases may be judged by the moment it was sent. A slow, stopped or just recovered intake stops the
clock, and is never a mass loss.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

LEASE_TERM = 15.0
"""Seconds on the lease clock: how long a beat keeps a lease, and how long a worker may be silent."""
OFFER_TERM = 12.0
"""Seconds on the lease clock after which an offer that no beat has listed is over."""
PROBE_EVERY = timedelta(seconds=1)
ANSWER_WITHIN = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class LeaseClock:
    """`seconds` as of `advanced_at`. The last probe is number `probe`; the last answered one `answered`. Times UTC."""

    seconds: float
    advanced_at: datetime
    probe: int = 0
    sent_at: datetime | None = None
    answered: int = 0
    answered_at: datetime | None = None


def tick(clock: LeaseClock, now: datetime) -> LeaseClock:
    """The clock at `now`; a new probe is to be sent when `probe` has grown, and nothing stored when it is the same.

    It advances to the sending of a probe answered in time, by at most ANSWER_WITHIN, and jumps of `now` move nothing.
    """
    sent_at = clock.sent_at
    if sent_at is None or now < sent_at:
        return _probed(replace(clock, advanced_at=now), now)
    in_time = _answered_in_time(clock, sent_at)
    if in_time and clock.advanced_at < sent_at:
        step = min(sent_at - clock.advanced_at, ANSWER_WITHIN)
        clock = replace(clock, seconds=clock.seconds + step.total_seconds(), advanced_at=sent_at)
    if in_time and now - sent_at >= PROBE_EVERY:
        return _probed(clock, now)
    if not in_time and now - sent_at >= ANSWER_WITHIN:
        return _probed(replace(clock, advanced_at=now), now)
    return clock


def offer_until(clock: LeaseClock, now: datetime) -> float:
    """Where on the lease clock an offer made at `now` is over: never sooner than OFFER_TERM of real time later.

    What the clock may yet be credited with for the time before `now`, at most two steps, is added.
    """
    credit = min(max(now - clock.advanced_at, timedelta(0)), 2 * ANSWER_WITHIN)
    return clock.seconds + credit.total_seconds() + OFFER_TERM


def _answered_in_time(clock: LeaseClock, sent_at: datetime) -> bool:
    return (
        clock.answered >= clock.probe and clock.answered_at is not None and clock.answered_at - sent_at <= ANSWER_WITHIN
    )


def _probed(clock: LeaseClock, now: datetime) -> LeaseClock:
    return replace(clock, probe=clock.probe + 1, sent_at=now)
