"""What a platform in memory keeps for equal tasks: all that its log tells."""

from adapters.in_memory.event_log import MemoryLog
from domain import events as e
from domain.caching import Entry, Look, Reuse, entry_of, key_for, looks, takes
from domain.task_states import Queued


def reuse(log: MemoryLog, state: Queued) -> Reuse | None:
    """What the task takes instead of running; None: it runs."""
    cache = state.facts.submitted.spec.cache
    if cache is None or not looks(state.facts.submitted):
        return None
    queued, key = log.load([state.id])[state.id][state.since - 1], key_for(state.facts)
    look = Look(state.id, entry_of(queued.namespace, key), cache.ttl, queued.recorded_at)
    for row in reversed(log.events):
        left = row.event() if row.type == e.TaskSucceeded.TYPE else None
        if not isinstance(left, e.TaskSucceeded) or left.cache is None:
            continue
        ended = row.recorded_at
        entry = Entry(entry_of(row.namespace, left.cache.key), row.stream, ended, ended + left.cache.ttl)
        if entry.key == look.key:
            first = e.CachedFrom(task_id=left.task_id, stream=row.stream, ended_at=ended)
            return Reuse(state.since, first, left) if takes(look, entry) else None
    return None
