"""Tasks that are being spread: their children are submitted from the conductor's rows, so many a round.

A child's stream is derived from its parent's and its index, and children come in the order of their indices. Which of
them are there is asked of the log, so that none comes twice, whatever the rows say.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from time import thread_time
from uuid import UUID

from consumers import deciding
from consumers.deciding import Draft, Streams
from consumers.saga import end_of
from domain.ends import known
from domain.events import TaskSpread, Upstream
from domain.folding import task_of
from domain.ids import child_stream
from domain.ports.conducting import Agenda
from domain.ports.log import Page
from domain.ports.spreading import Spreading, SpreadOn
from domain.specs import MOST_CHILDREN
from domain.spreading import children
from domain.task_states import Recalled, Spread, Task

ACTOR = "saga"
CHILDREN = 250
"""In a round: children that are looked at."""
PARENTS = 8
"""In a round: tasks whose children are."""
EVENTS_A_CHILD = 2
MOST_BYTES = 8 << 20
"""In a round: what the submissions of children may have together, but for the last one."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some of the children that a row is to deal with next: from its `next` on."""

    row: Spreading
    streams: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class Most:
    """What the children of one task may come to in a round. `until`: on this thread's clock of its time."""

    bytes: int
    until: float


def readable(page: Page) -> Page:
    """As much of the page as one round takes note of: an event of a few bytes may make thousands of rows."""
    rows = 0
    for n, recorded in enumerate(page.events):
        if recorded.type == TaskSpread.TYPE:
            event = recorded.event()
            assert isinstance(event, TaskSpread), "chosen by its type"
            rows += event.children
            if rows > MOST_CHILDREN:
                return replace(page, events=page.events[:n], up_to=page.events[n - 1].position)
    return page


def chunks(agenda: Agenda) -> list[Chunk]:
    """What the rows of one round are about: those with the fewest children so far, which share it."""
    found: list[Chunk] = []
    room, rows = CHILDREN, agenda.spreading[:PARENTS]
    for n, row in enumerate(rows):
        share = min(room, max(1, room // (len(rows) - n)))
        indices = range(row.next, min(row.next + share, row.children))
        room -= len(indices)
        found.append(Chunk(row, [child_stream(row.task, index) for index in indices]))
    return found


def needs(found: Iterable[Chunk]) -> set[UUID]:
    """The streams that the decision is made on, the children's among them."""
    return {stream for chunk in found for stream in (chunk.row.task, *chunk.streams)}


def read(found: Iterable[Chunk], loaded: Streams) -> set[UUID]:
    """The streams that hold the items, and what else the children's templates read."""
    return {
        one.stream
        for chunk in found
        for state in (_parent(chunk, loaded),)
        if isinstance(state, Spread)
        for one in _reads(state)
    }


def spread(draft: Draft, found: Sequence[Chunk], room: int) -> list[SpreadOn]:
    """Submit children, with at most `room` events; take note of how far each row is dealt with."""
    done: list[SpreadOn] = []
    left, end = MOST_BYTES, thread_time() + deciding.MOST_SECONDS
    for number, chunk in enumerate(found):
        state = _parent(chunk, draft.loaded)
        there = next((n for n, one in enumerate(chunk.streams) if one not in draft.loaded), len(chunk.streams))
        if isinstance(state, Spread):
            some = range(there, min(len(chunk.streams), there + room // EVENTS_A_CHILD))
            until = thread_time() + (end - thread_time()) / (len(found) - number)
            new, size = _submit(draft, chunk, state, some, Most(left, until)) if left > 0 else (0, 0)
            room, left = room - new * EVENTS_A_CHILD, left - size
            one = SpreadOn(chunk.row.task, chunk.row.next + there + new)
            done.append(one if one.next < chunk.row.children else SpreadOn(one.task, one.next, over=True))
        else:
            done.append(_last(chunk, state, chunk.row.next + there, there == len(chunk.streams)))
    return [one for one, chunk in zip(done, found, strict=True) if one.over or one.next > chunk.row.next]


def _last(chunk: Chunk, state: Task | None, there: int, more: bool) -> SpreadOn:
    """No further children come to a task that is cancelled. `more`: there may be others beyond those looked at."""
    row = chunk.row
    if more and there < row.children:
        return SpreadOn(row.task, there)
    never = [child_stream(row.task, index) for index in range(there, row.children)]
    return SpreadOn(row.task, there, over=True, never=never, recalled=isinstance(state, Recalled))


def _submit(draft: Draft, chunk: Chunk, state: Spread, some: range, most: Most) -> tuple[int, int]:
    """How many of these it submits, and their bytes: all, unless they come to more than `most`."""
    rows = draft.loaded[chunk.row.task]
    streams = {one.task_id: one.stream for one in _reads(state)}
    ends = {name: end_of(draft.loaded.get(stream, ())) for name, stream in streams.items()}
    read = {name: known(end) for name, end in ends.items() if end is not None}
    cause = rows[-1].following(ACTOR)
    indices = range(chunk.row.next + some.start, chunk.row.next + some.stop)
    size = 0
    with draft.traces.step("process conductor", cause) as inside:
        for n, events in enumerate(children(state, indices, read), start=1):
            draft.add(chunk.streams[some.start + n - 1], rows[0].namespace, events, inside)
            size += len(events[0].body())
            if size >= most.bytes or thread_time() >= most.until:
                return n, size
    return len(some), size


def _parent(chunk: Chunk, loaded: Streams) -> Task | None:
    rows = loaded.get(chunk.row.task)
    return task_of(rows) if rows else None


def _reads(state: Spread) -> Iterable[Upstream]:
    submitted = state.facts.submitted
    return (one for one in submitted.depends_on if one.task_id in (submitted.reads or ()))
