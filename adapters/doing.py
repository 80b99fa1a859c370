"""What this process is doing right now, for its log lines: known with tracing on, off, or not sampled."""

from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType

from domain.messages import Cause


@dataclass(frozen=True, slots=True)
class Doing:
    """The step in hand. `task_id` is the step's attribute `tally.task.id`."""

    cause: Cause
    task_id: str | None


now: ContextVar[Doing | None] = ContextVar("doing", default=None)


class Untraced:
    """A step without a span: the cause as it came."""

    __slots__ = ("_attributes", "_cause", "_token")
    _token: Token[Doing | None]

    def __init__(self, cause: Cause, attributes: dict[str, str | int] | None) -> None:
        self._cause, self._attributes = cause, attributes

    def __enter__(self) -> Cause:
        self._token = now.set(Doing(self._cause, task_of(self._attributes)))
        return self._cause

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        now.reset(self._token)


def task_of(attributes: dict[str, str | int] | None) -> str | None:
    """The task that a step's attributes name."""
    task = attributes.get("tally.task.id") if attributes else None
    return None if task is None else str(task)
