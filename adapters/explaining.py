"""What is known of a task, read piece by piece: the same on every store."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.events import TaskSubmitted
from domain.explaining import Known
from domain.ports.querying import Allowed
from domain.reasons import Hold, Story, story_of
from domain.recorded import Recorded
from domain.task_states import Blocked, Ended, Held, Queued, Recalled, Spread
from domain.why_ended import DEEPEST, blamed
from domain.why_queued import Place
from domain.why_spread import Children
from domain.why_waiting import open_needs


class Moment(Protocol):
    """Reads that all see the same moment."""

    async def now(self) -> datetime: ...

    async def load(self, streams: Sequence[UUID]) -> dict[UUID, list[Recorded]]:
        """All events of these streams in order; a stream without events is left out."""
        ...

    async def ends(self, streams: Sequence[UUID]) -> dict[UUID, str]:
        """How each of these tasks did, that has ended."""
        ...

    async def place(self, task: UUID, allowed: Allowed) -> Place:
        """The queue, as the dispatcher sees it, around a task."""
        ...

    async def children(self, task: UUID) -> Children:
        """How the children of a task stand, as far as the conductor has read."""
        ...

    async def hold(self, run_id: UUID) -> Hold | None:
        """The open lease of a run."""
        ...


async def known_at(moment: Moment, id: UUID, allowed: Allowed) -> Known | None:
    """What `explain` needs to know of the task; None when there is no such one within reach."""
    events = (await moment.load([id])).get(id)
    if not events or events[0].type != TaskSubmitted.TYPE or not (allowed is None or events[0].namespace in allowed):
        return None
    story, now = story_of(events), await moment.now()
    match story.task:
        case Blocked():
            return await _blocked(moment, story, now)
        case Spread() | Recalled():
            return Known(story, now, children=await moment.children(id))
        case Queued():
            return Known(story, now, place=await moment.place(id, allowed))
        case Held(lease=lease):
            return Known(story, now, hold=await moment.hold(lease.run_id))
        case Ended():
            return Known(story, now, streams=await _blamed(moment, events))
        case _:
            return Known(story, now)


async def _blocked(moment: Moment, story: Story, now: datetime) -> Known:
    needs = story.task.facts.submitted.depends_on
    ended = await moment.ends([one.stream for one in needs]) if needs else {}
    ends = {one.task_id: ended[one.stream] for one in needs if one.stream in ended}
    shown = open_needs(story, ends)
    return Known(story, now, ends, await moment.load(shown) if shown else {})


async def _blamed(moment: Moment, events: Sequence[Recorded]) -> Mapping[UUID, Sequence[Recorded]]:
    streams: dict[UUID, Sequence[Recorded]] = {}
    for _ in range(DEEPEST):
        other = blamed(events)
        found = await moment.load([other]) if other is not None and other not in streams else {}
        if not found:
            break
        streams |= found
        events = next(iter(found.values()))
    return streams
