"""What the conductor keeps, between rounds, of tasks that become children."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Spreading:
    """A task that becomes `children`; the first `next` of them are dealt with."""

    task: UUID
    next: int
    children: int


@dataclass(frozen=True, slots=True)
class SpreadOn:
    """How far a task's children are dealt with now: `over`, if there will be no others. `never`: those that were to
    come, and do not. `recalled`: those that have come are to be cancelled."""

    task: UUID
    next: int
    over: bool = False
    never: Sequence[UUID] = ()
    recalled: bool = False
