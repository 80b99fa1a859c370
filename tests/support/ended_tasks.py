"""Short histories of tasks that ended, as the log holds them."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain import events as e
from domain.messages import Cause
from domain.recorded import NewEvent, Recorded, new_events
from domain.specs import TaskSpec

NOW = datetime(2026, 11, 21, 3, 12, 40, tzinfo=UTC)
TASK = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7e01")
TASK_2 = UUID("0193f2a1-5c7e-7a10-8f00-3d1c5a9b7e02")
CAUSE = Cause("chain", "command", "alice")


class Hands:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def move(self, by: timedelta) -> None:
        self.time += by


def history(task: UUID, end: e.TaskEvent, notify: tuple[str, ...] = ()) -> list[NewEvent]:
    """A task that was submitted, naming these channels, and then ended."""
    submitted = e.TaskSubmitted(task_id="T1", spec=TaskSpec(executor="noop", notify=notify))
    return new_events(task, 0, "analytics", [submitted, end], CAUSE)


def succeeded(task: UUID = TASK, *notify: str) -> list[NewEvent]:
    return history(task, e.TaskSucceeded(task_id="T1", runs=1, exit_code=0), notify)


def failed(task: UUID = TASK, *notify: str) -> list[NewEvent]:
    return history(task, e.TaskFailed(task_id="T1", reason="oom", runs=1, exit_code=137), notify)


def stored(new: NewEvent, position: int = 1, event_id: UUID = TASK_2) -> Recorded:
    """`new` as the log would hold it, recorded at NOW."""
    event = new.event
    return Recorded(
        position, new.stream, new.version, event.TYPE, event.body(), event_id, NOW, new.namespace, new.cause
    )
