"""Tasks with `for_each` on a platform in memory: all their children are submitted at once."""

from collections import Counter
from uuid import UUID

from adapters.in_memory.event_log import MemoryLog
from domain import events as e
from domain import task
from domain.ends import known
from domain.folding import task_of
from domain.ids import child_stream
from domain.spreading import children
from domain.task_states import Cancelling, Ended, Recalled, Spread
from domain.templates import Known


def ends_before(log: MemoryLog, submitted: e.TaskSubmitted) -> dict[str, Known]:
    """The ends of the tasks before it."""
    last = {one.task_id: log.load([one.stream]).get(one.stream, ()) for one in submitted.depends_on}
    ends = {name: row.event() for name, rows in last.items() for row in rows if row.type in e.ENDS}
    return {name: known(end) for name, end in ends.items()}


def to_come(log: MemoryLog, state: Spread | Recalled) -> dict[UUID, list[e.TaskEvent]]:
    """The first events of its children, unless they are there, or are not to come any more."""
    streams = _streams(state)
    if isinstance(state, Recalled) or log.load(streams[:1]):
        return {}
    submitted = state.facts.submitted
    events = children(state, range(len(streams)), ends_before(log, submitted))
    return dict(zip(streams, events, strict=True))


def following(log: MemoryLog, state: Spread | Recalled) -> dict[UUID, task.Decision]:
    """What is decided of it, or of its children, as these stand."""
    there = {stream: task_of(rows) for stream, rows in log.load(_streams(state)).items()}
    ends = Counter(child.status for child in there.values() if isinstance(child, Ended))
    if ends.total() == len(there):
        return {state.id: task.Gather(ends)}
    if isinstance(state, Spread):
        return {}
    cancel = task.Cancel(state.by, state.reason, state.grace)
    return {stream: cancel for stream, child in there.items() if not isinstance(child, Ended | Cancelling)}


def _streams(state: Spread | Recalled) -> list[UUID]:
    return [child_stream(state.id, index) for index in range(state.facts.children or 0)]
