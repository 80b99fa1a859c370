"""To be woken when there may be something new to read."""

from typing import Protocol


class Watch(Protocol):
    """What people wait on: the log, and the views that follow it."""

    async def changed(self, seconds: float) -> None:
        """Return when the log or the views may have grown; at the latest after `seconds`.

        What happens between two calls wakes nobody: look before each, and never wait long.
        """
        ...
