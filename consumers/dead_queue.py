"""What the broker gave up on: a command that expired is refused for it, everything else becomes a dead letter.

Only on the queue of the dead are the broker's `x-death` headers looked at, and of those only the newest entry, which
the broker has put there itself: a sender may forge the older ones, and with them `x-first-death-reason`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from consumers.items import CommandItems, Item, refusal
from domain.errors import ExpiredInQueue, Unreadable
from domain.letters import Letter
from domain.ports.broker import Delivery

EXPIRED = "expired"
REASONS = frozenset({EXPIRED, "delivery_limit", "maxlen", "rejected"})
UNKNOWN = "dead-lettered"
_BROKERS = ("x-death", "x-first-death-", "x-last-death-")


@dataclass(frozen=True, slots=True)
class ReadExpired:
    """Reads commands that expired in the queue `commands`. Raises Unreadable, with the broker's reason, for others."""

    commands: str
    read: Callable[[Delivery], Letter]

    def __call__(self, delivery: Delivery) -> Letter:
        """The letter as its sender sent it, without what the broker added."""
        reason, queue = last_death(delivery.headers)
        if (reason, queue) != (EXPIRED, self.commands):
            raise Unreadable(reason, f"the broker gave up on it in queue {queue}; look at the body, then send it again")
        own = {name: value for name, value in delivery.headers.items() if not name.startswith(_BROKERS)}
        try:
            return self.read(replace(delivery, headers=own))
        except Unreadable as unreadable:
            raise _nobody_to_tell(queue, unreadable) from unreadable


@dataclass(frozen=True, slots=True)
class ExpiredItems:
    """Refuses each letter that `commands` would have taken, because it came too late."""

    queue: str
    commands: CommandItems

    def __call__(self, letter: Letter) -> list[Item]:
        """One refusal a command. Raises Unreadable when its sender cannot be told."""
        try:
            items = self.commands(letter)
        except Unreadable as unreadable:
            raise _nobody_to_tell(self.queue, unreadable) from unreadable
        late = ExpiredInQueue(f"expiration: it ran out in queue {self.queue}; send the command again, with a new id")
        return [replace(refusal(letter, item.key.principal, late), reply_to=item.reply_to) for item in items]


def last_death(headers: Mapping[str, object]) -> tuple[str, str]:
    """Why the broker gave up on a message, and in which queue; ("dead-lettered", "unknown") if it does not say."""
    deaths = headers.get("x-death")
    newest = cast("list[object]", deaths)[0] if isinstance(deaths, list) and deaths else None
    if not isinstance(newest, dict):
        return UNKNOWN, "unknown"
    death = cast("dict[str, object]", newest)
    reason, queue = death.get("reason"), death.get("queue")
    return reason if isinstance(reason, str) and reason in REASONS else UNKNOWN, f"{queue!s:.80}"


def _nobody_to_tell(queue: str, unreadable: Unreadable) -> Unreadable:
    return Unreadable(EXPIRED, f"expired in queue {queue}, and {unreadable.reason}: {unreadable.detail}")
