"""What a limit is now. Pure."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from domain import events as e
from domain.recorded import Recorded


class LimitView(NamedTuple):
    """`max_running` at once, `starts` in any span of length `per` (ISO 8601); None: any number. `by`: set it last."""

    id: UUID
    scope: str
    namespace: str
    max_running: int | None
    starts: int | None
    per: str | None
    by: str
    updated_at: datetime
    version: int
    position: int


LIMIT_TYPES = frozenset({e.LimitChanged.TYPE})


def limit_key(recorded: Recorded, event: e.Event) -> UUID:
    """The row that an event of LIMIT_TYPES changes."""
    return recorded.stream


def project_limit(row: LimitView | None, recorded: Recorded, event: e.Event) -> LimitView:
    """The row after `event`."""
    assert isinstance(event, e.LimitChanged), "a limit's only event"
    return LimitView(
        id=recorded.stream,
        scope=event.scope,
        namespace=recorded.namespace,
        max_running=event.max_running,
        starts=event.rate.starts if event.rate else None,
        per=f"PT{event.rate.per / timedelta(seconds=1):.9g}S" if event.rate else None,
        by=event.by,
        updated_at=recorded.recorded_at,
        version=recorded.version,
        position=recorded.position,
    )
