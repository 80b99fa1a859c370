"""The conductor's rows of schedules, in memory."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from adapters.in_memory.conductor_rows import NEVER, Rows
from domain.ports.conducting import Dealt, Planned, ScheduleNotes
from domain.timetable import MOST_OPEN


def note_schedules(rows: Rows, notes: ScheduleNotes) -> None:
    """Bring the rows up to the page."""
    for schedule in notes.gone:
        rows.schedules.pop(schedule, None)
    for schedule, due in notes.looks.items():
        rows.schedules[schedule] = (rows.schedules.get(schedule, (NEVER, None))[0], due)
    for schedule, done_to in notes.passed.items():
        if schedule in rows.schedules:
            before, due = rows.schedules[schedule]
            rows.schedules[schedule] = (max(before, done_to), due)
    rows.schedule_tasks |= dict(notes.opened)


def planned(rows: Rows, now: datetime, limit: int) -> Sequence[Planned]:
    """The schedules to look at now."""
    due = sorted((due, one, done_to) for one, (done_to, due) in rows.schedules.items() if due and due <= now)
    return [Planned(one, done_to, _open(rows, one)[:MOST_OPEN]) for _, one, done_to in due[:limit]]


def _open(rows: Rows, schedule: UUID) -> list[UUID]:
    return sorted(task for task, its in rows.schedule_tasks.items() if its == schedule)


def rest_schedules(rows: Rows, dealt: Dealt) -> None:
    """Store what is dealt with and when to look again, and the tasks that were submitted."""
    for one in dealt.rested:
        if one.schedule in rows.schedules:
            rows.schedules[one.schedule] = (max(rows.schedules[one.schedule][0], one.done_to), one.due)
    rows.schedule_tasks |= dict(dealt.opened)
