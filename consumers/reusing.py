"""A queued task that is equal to one that has succeeded takes what that one left, and does not run."""

from collections.abc import Sequence
from uuid import UUID

from consumers.deciding import DISPATCHER, Streams, Wish
from domain import events as e
from domain.caching import Hit, Reuse
from domain.ports.conducting import Agenda
from domain.recorded import Recorded


def needs(agenda: Agenda) -> set[UUID]:
    """The streams that the wishes below are decided on."""
    return {stream for hit in agenda.hits for stream in (hit.task, hit.first)}


def reuse(hit: Hit, loaded: Streams) -> Wish | None:
    """The task takes the result, if it is queued as it was then. None: there is no result any more."""
    end = _success(loaded.get(hit.first, ()))
    if end is None:
        return None
    left = end.event()
    assert isinstance(left, e.TaskSucceeded), "chosen by its type"
    first = e.CachedFrom(task_id=left.task_id, stream=hit.first, ended_at=end.recorded_at)
    rows = loaded[hit.task]
    since = next((row.version for row in rows if row.position == hit.position), 0)
    return Wish(hit.task, Reuse(since, first, left), rows[-1].following(DISPATCHER))


def is_gone(hit: Hit, loaded: Streams) -> bool:
    """Whether the log does not tell any more what there was to take."""
    return _success(loaded.get(hit.first, ())) is None


def _success(rows: Sequence[Recorded]) -> Recorded | None:
    return next((row for row in reversed(rows) if row.type == e.TaskSucceeded.TYPE), None)
