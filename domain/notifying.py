"""Who is told of what, when a failed try is repeated, and when it is given up. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from domain.ids import derived_id
from domain.notifications import NotificationFailed, NotificationSent
from domain.recorded import Recorded

FIRST = timedelta(seconds=5)
LONGEST = timedelta(hours=1)
BUDGET = timedelta(hours=24)

Rules: TypeAlias = Mapping[str, frozenset[str]]
"""Channel -> the event types it is told of."""


@dataclass(frozen=True, slots=True)
class Notification:
    """That `channel` is to be told of `event`. `tries`: how often it was tried before."""

    event: Recorded
    channel: str
    tries: int = 0

    @property
    def key(self) -> tuple[UUID, str]:
        return self.event.event_id, self.channel

    @property
    def stream(self) -> UUID:
        """The stream of what became of it: the same for every process that ever tries."""
        return derived_id(self.event.stream, f"notification:{self.event.event_id}:{self.channel}")


@dataclass(frozen=True, slots=True)
class Tried:
    """What a try came to. `problem` None: the channel has it. `final`: trying again cannot help."""

    problem: str | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """A try and what follows: `again_at` (None: nothing), and the fact to record (None: none yet)."""

    notification: Notification
    problem: str | None
    again_at: datetime | None
    fact: NotificationSent | NotificationFailed | None


def notifications(ends: Sequence[Recorded], named: Mapping[UUID, Sequence[str]], rules: Rules) -> list[Notification]:
    """Whom to tell of these events. `named`: the channels that each task's spec names.

    A channel without a rule is told of all, so that a misspelt name comes to light as a failed notification.
    """
    return [
        Notification(event, channel)
        for event in ends
        for channel in dict.fromkeys(named.get(event.stream, ()))
        if channel not in rules or event.type in rules[channel]
    ]


def settle(notification: Notification, tried: Tried, now: datetime, share: float) -> Settled:
    """What follows from a try that ended at `now`. `share`: random from 0 to 1, spreads the tries."""
    event_id, channel = notification.key
    tries = notification.tries + 1
    if tried.problem is None:
        return Settled(notification, None, None, NotificationSent(event_id=event_id, channel=channel, tries=tries))
    again_at = now + backoff(tries, share)
    if not tried.final and again_at <= notification.event.recorded_at + BUDGET:
        return Settled(notification, tried.problem, again_at, None)
    fact = NotificationFailed(event_id=event_id, channel=channel, tries=tries, reason=tried.problem)
    return Settled(notification, tried.problem, None, fact)


def backoff(tries: int, share: float) -> timedelta:
    """The pause after that many tries: a share of 5 s, 10 s, 20 s and so on up to one hour (full jitter)."""
    return min(LONGEST, FIRST * (1 << min(tries - 1, 20))) * share
