"""How a queue is to be consumed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Intake:
    """At most `prefetch` messages are here unsettled. `exclusive`: nobody else may consume the queue meanwhile.

    `prepare` runs before consuming begins, and begins again after a loss: to declare a queue that may be gone.
    """

    queue: str
    prefetch: int
    exclusive: bool = False
    prepare: Callable[[], Awaitable[None]] | None = None
