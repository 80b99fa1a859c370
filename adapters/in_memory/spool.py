"""A spool that outlives workers as long as the test keeps it."""

from collections.abc import Sequence
from uuid import UUID

from domain.reports import FinishReport


class MemorySpool:
    """See `domain.ports.running.Spool`."""

    def __init__(self) -> None:
        self.reports: dict[UUID, FinishReport] = {}

    async def keep(self, reports: Sequence[FinishReport]) -> None:
        self.reports |= {report.id: report for report in reports}

    async def drop(self, ids: Sequence[UUID]) -> None:
        for known in ids:
            self.reports.pop(known, None)

    async def load(self) -> Sequence[FinishReport]:
        return [self.reports[known] for known in sorted(self.reports)]
