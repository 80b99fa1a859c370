"""What a client is told: how tasks end, their events, and whether a command was accepted."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from domain.errors import Refused, Unavailable
from domain.events import ENDS
from domain.ports.platform import View
from domain.reports import Artifact
from domain.work import Reply

ENDED = frozenset(end.split(".")[1] for end in ENDS)
LOOK = timedelta(seconds=20)
PAUSE_SECONDS = 0.3
BEHIND_SECONDS = 5.0
"""How long a look at a task waits for views that are behind."""
T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended. `exit_code` None: no container of it ended by itself; `reason` says why it did not succeed.
    `artifacts`: data that it left elsewhere. `cached_from`: the id of the equal task whose result it took.
    """

    status: str
    exit_code: int | None = None
    result: Any = None
    reason: str | None = None
    artifacts: tuple[Artifact, ...] = ()
    cached_from: str | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event of a task. `position`: in the whole log; `version`: in the task's history."""

    position: int
    version: int
    type: str
    data: dict[str, Any]


@dataclass(slots=True)
class Told:
    """The position that what a client reads must hold: of the last event that the platform has told it of."""

    position: int = 0

    def see(self, reply: Reply) -> Reply:
        """Note where a reply's events stand."""
        self.position = max(self.position, reply.position or 0)
        return reply


async def patiently(ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `ask` answers, asked again while the platform is not reached."""
    while True:
        try:
            return await ask(*args, **kwargs)
        except Unavailable:
            await asyncio.sleep(PAUSE_SECONDS)


def accepted(reply: Reply) -> Reply:
    """`reply` if it says so, else raises Refused with its problem."""
    if reply.outcome == "rejected" and reply.problem is not None:
        raise Refused(reply.problem)
    return reply


def outcome_of(view: View) -> Outcome:
    """How the task of this view ended."""
    reason = view.get("reason") or view.get("because")
    artifacts = tuple(map(Artifact.model_validate, view.get("artifacts") or ()))
    first: View = view.get("cached_from") or {}
    return Outcome(view["status"], view.get("exit_code"), view.get("result"), reason, artifacts, first.get("id"))


def event_of(view: View) -> StoredEvent:
    """An event as the API writes it."""
    return StoredEvent(view["position"], view["version"], view["type"], view["data"])
