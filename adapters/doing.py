"""What this process is doing right now, for its log lines: known with tracing on, off, or not sampled."""

from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType

from domain.messages import Cause
from domain.ports.tracing import Attributes, Described


@dataclass(frozen=True, slots=True)
class Doing:
    """The step in hand. `note` takes more attributes of its span; None: no span is kept of it."""

    cause: Cause
    attributes: Described | None = None
    note: Callable[[Attributes], object] | None = None

    @property
    def task_id(self) -> str | None:
        """The step's attribute `tally.task.id`."""
        task = computed(self.attributes).get("tally.task.id")
        return None if task is None else str(task)


now: ContextVar[Doing | None] = ContextVar("doing", default=None)


class Untraced:
    """A step without a span: the cause as it came."""

    __slots__ = ("_attributes", "_cause", "_token")
    _token: Token[Doing | None]

    def __init__(self, cause: Cause, attributes: Described | None) -> None:
        self._cause, self._attributes = cause, attributes

    def __enter__(self) -> Cause:
        self._token = now.set(Doing(self._cause, self._attributes))
        return self._cause

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        now.reset(self._token)


def computed(attributes: Described | None) -> Attributes:
    """The attributes themselves."""
    if callable(attributes):
        return attributes()
    return attributes or {}
