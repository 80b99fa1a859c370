"""What a worker is told when it beats."""

from uuid import UUID

from domain.reports import HeldRun
from domain.syncing import LastBeat, Standing, open_leases, sync
from domain.work import WorkerSync

RUN_1, RUN_2, RUN_3, RUN_4 = (UUID(int=(7 << 76) + number) for number in range(1, 5))
REPORT_1, REPORT_2 = (UUID(int=(7 << 76) + number) for number in range(11, 13))


def test_each_run_listed_is_valid_to_be_stopped_or_known_to_be_over() -> None:
    beat = LastBeat(
        "w1",
        3,
        812,
        (
            HeldRun(run_id=RUN_1, fence=7, state="running"),
            HeldRun(run_id=RUN_2, fence=1, state="pulling"),
            HeldRun(run_id=RUN_3, fence=2, state="finished"),
            HeldRun(run_id=RUN_4, fence=4, state="accepted"),
        ),
        (REPORT_1, REPORT_2),
    )
    standing = Standing(3, {RUN_1: 7, RUN_4: 5}, {REPORT_2}, {RUN_3: 5120})

    assert sync(beat, standing) == WorkerSync(
        generation=3,
        beat=812,
        valid=(RUN_1,),
        stop=(RUN_2,),
        committed=(REPORT_2,),
        logs_stored={RUN_1: 0, RUN_2: 0, RUN_3: 5120, RUN_4: 0},
        register_again=False,
    )


def test_a_generation_that_is_not_the_current_one_is_told_to_register_again() -> None:
    beat = LastBeat("w1", 3, 812, (HeldRun(run_id=RUN_1, fence=7, state="running"),), (REPORT_1,))

    for generation in (None, 2, 4):
        answer = sync(beat, Standing(generation, {RUN_1: 7}, {REPORT_1}))
        assert (answer.register_again, answer.valid, answer.stop, answer.committed) == (True, (), (), (REPORT_1,))


def test_open_leases_of_the_runs_listed_count_under_whatever_fence_and_for_the_current_generation_only() -> None:
    runs = tuple(HeldRun(run_id=run, fence=1, state="running") for run in (RUN_1, RUN_2, RUN_3))
    beat, leases = LastBeat("w1", 3, 812, runs), {RUN_1: 1, RUN_2: 2, RUN_4: 1}

    assert open_leases(beat, Standing(3, leases)) == [(RUN_1, 1), (RUN_2, 2)]
    assert open_leases(beat, Standing(4, leases)) == []
