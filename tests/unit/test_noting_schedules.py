"""What a page says of schedules."""

from datetime import timedelta

from consumers.scheduling import Seen
from domain import events as e
from domain.ids import derived_id
from domain.ports.conducting import ScheduleNotes
from domain.recorded import Recorded
from tests.support.ended_tasks import CAUSE, NOW, TASK, TASK_2
from tests.support.schedules import S1, spec

HOUR = timedelta(hours=1)
S2 = derived_id(S1, "another")


def noted(*events: e.ScheduleEvent | e.FireEvent) -> ScheduleNotes:
    seen = Seen()
    for number, event in enumerate(events):
        at = NOW + number * HOUR
        seen.see(Recorded(number, S1, number, event.TYPE, event.body(), TASK, at, "default", CAUSE), event)
    return seen.notes()


DEFINED = e.ScheduleDefined(schedule_id="S1", spec=spec(interval="PT1H"))
PAUSED = e.SchedulePaused(schedule_id="S1", by="alice")
RESUMED = e.ScheduleResumed(schedule_id="S1", by="alice")
DELETED = e.ScheduleDeleted(schedule_id="S1", by="alice")


def test_a_schedule_that_changes_is_looked_at_unless_it_is_paused_or_gone() -> None:
    assert noted(DEFINED) == ScheduleNotes(looks={S1: NOW})
    assert noted(DEFINED, PAUSED) == ScheduleNotes(looks={S1: None})
    assert noted(DEFINED, PAUSED, RESUMED) == ScheduleNotes(looks={S1: NOW + 2 * HOUR})
    assert noted(DEFINED, DELETED) == ScheduleNotes(gone=(S1,))
    assert noted(DEFINED, DELETED, DEFINED) == ScheduleNotes(looks={S1: NOW + 2 * HOUR}, gone=(S1,))


def test_fires_pass_their_times_but_those_by_hand_do_not() -> None:
    fired = e.ScheduleFired(schedule_id="S1", schedule=S1, nominal=NOW, task_id=TASK)
    skipped = e.FireSkipped(schedule_id="S1", schedule=S1, nominal=NOW + HOUR, reason="catch-up", to=NOW + 3 * HOUR)
    by_hand = e.ScheduleFired(schedule_id="S1", schedule=S1, nominal=NOW + 9 * HOUR, task_id=TASK_2, by="trigger")

    assert noted(fired, skipped, by_hand) == ScheduleNotes(passed={S1: NOW + 3 * HOUR}, opened={TASK: S1, TASK_2: S1})
