"""The rows of results that equal tasks take, in memory."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from adapters.in_memory.conductor_rows import Rows
from domain.caching import Hit, takes
from domain.ports.conducting import Dealt, Notes

LATE = timedelta(days=1)


def note_results(rows: Rows, notes: Notes) -> None:
    """Keep what was left, and find it for those that look for it. Comes when the queue is up to the page."""
    rows.looking = {task: key for task, key in rows.looking.items() if task in rows.queue}
    rows.cache |= {entry.key: entry for entry in notes.entries}
    asked = {look.task for look in notes.looks}
    for entry in notes.entries:
        for task, key in list(rows.looking.items()):
            if key == entry.key and task not in asked:
                _find(rows, task, entry.task)
    for look in notes.looks:
        kept = rows.cache.get(look.key)
        if look.task not in rows.queue:
            continue
        if kept and takes(look, kept):
            _find(rows, look.task, kept.task)
        else:
            rows.looking[look.task] = look.key


def hits(rows: Rows, limit: int) -> Sequence[Hit]:
    """Tasks that are to take a result."""
    return [Hit(task, first, waiting.position) for task, (waiting, first) in sorted(rows.hits.items())[:limit]]


def rest_hits(rows: Rows, dealt: Dealt) -> None:
    """Take away what is dealt with; whose result is gone is in the queue again."""
    for task in dealt.reused:
        rows.hits.pop(task, None)
    for task in dealt.missed:
        waiting, _ = rows.hits.pop(task)
        rows.queue.setdefault(task, waiting)


def clean_up(rows: Rows, now: datetime) -> None:
    """Forget results that nobody may take any more."""
    rows.cache = {key: entry for key, entry in rows.cache.items() if entry.until >= now - LATE}


def _find(rows: Rows, task: UUID, first: UUID) -> None:
    rows.hits[task] = (rows.queue.pop(task), first)
