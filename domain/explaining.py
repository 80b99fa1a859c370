"""Why a task stands as it does: all that it waits for, what a worker does with it, or why it ended. Pure.

Nothing is decided here: the answers come of the functions by which the saga and the dispatcher decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from domain.reasons import Explanation, Hold, Reason, Story
from domain.recorded import Recorded
from domain.task_states import Ended, Held, Queued, Recalled, Spread
from domain.task_view import status_of
from domain.why_ended import ended
from domain.why_held import held
from domain.why_queued import Place, queued
from domain.why_spread import Children, spread
from domain.why_waiting import waiting


@dataclass(frozen=True, slots=True)
class Known:
    """What is known at one moment of a task and of what it depends on.

    `ends`: how each of the tasks it needs did, that ended. `streams`: of others that it waits for or blames, whole.
    `place`: in the queue. `hold`: of the worker that has it. `children`: of a task that has some.
    """

    story: Story
    now: datetime
    ends: Mapping[str, str] = field(default_factory=dict[str, str])
    streams: Mapping[UUID, Sequence[Recorded]] = field(default_factory=dict[UUID, Sequence[Recorded]])
    place: Place | None = None
    hold: Hold | None = None
    children: Children | None = None


def explain(known: Known) -> Explanation:
    """At least one reason for a task that has not ended, exactly one for one that has."""
    story = known.story
    view = story.view
    return Explanation(view.task_id, view.id, view.status, story.since, _reasons(known), view.position)


def _reasons(known: Known) -> list[Reason]:
    story = known.story
    match story.task:
        case Ended():
            return ended(story, known.streams)
        case Held() as state:
            return held(story, state, known.hold)
        case Spread() | Recalled() as state:
            return spread(story, state, known.children or Children(0))
        case Queued():
            late = waiting(story, {}, {}, known.now)
            return [*late, *queued(known.place or Place(None), known.now)]
        case _:
            return waiting(story, known.ends, _stands(known), known.now)


def _stands(known: Known) -> dict[str, str]:
    streams = {one.task_id: one.stream for one in known.story.task.facts.submitted.depends_on}
    return {name: status_of(known.streams[stream]) for name, stream in streams.items() if stream in known.streams}
