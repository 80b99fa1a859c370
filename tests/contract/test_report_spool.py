"""What a worker's disk promises it."""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from adapters.in_memory.spool import MemorySpool
from adapters.report_spool import ReportSpool
from domain.errors import Unavailable
from domain.ids import derived_id
from domain.ports.running import Spool
from domain.reports import FinishReport, LogEnd, RunFinish
from tests.support.runs import RUN, TASK

Again = Callable[[], Spool]


@pytest.fixture(params=["memory", "files"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Again:
    """The spool as each new process of a worker finds it."""
    memory = MemorySpool()
    return (lambda: memory) if request.param == "memory" else lambda: ReportSpool(tmp_path / "w1")


def report(number: int) -> FinishReport:
    finish = RunFinish(
        task_id=TASK,
        run_id=RUN,
        fence=1,
        container_id="4f5e",
        exit_code=number,
        result={"rows": [1, None, "ü"]},
        log=LogEnd(bytes=0, sha256="0" * 64),
    )
    return FinishReport(id=UUID(int=derived_id(TASK, "report").int + number), data=finish)


async def test_a_new_worker_has_nothing(again: Again) -> None:
    assert list(await again().load()) == []


async def test_what_was_kept_is_there_for_the_next_process_in_order(again: Again) -> None:
    await again().keep([report(2)])
    await again().keep([report(1), report(3)])
    assert list(await again().load()) == [report(1), report(2), report(3)]


async def test_kept_twice_it_is_there_once(again: Again) -> None:
    await again().keep([report(1)])
    await again().keep([report(1)])
    assert list(await again().load()) == [report(1)]


async def test_what_was_dropped_is_gone_and_may_be_dropped_again(again: Again) -> None:
    await again().keep([report(1), report(2)])
    await again().drop([report(1).id])
    await again().drop([report(1).id, UUID(int=7)])
    assert list(await again().load()) == [report(2)]


async def test_a_file_cut_short_by_a_crash_harms_nothing(tmp_path: Path) -> None:
    spool = ReportSpool(tmp_path)
    await spool.keep([report(1)])
    (tmp_path / f"{report(2).id}.part").write_bytes(b'{"type":"run.fin')
    (tmp_path / f"{report(3).id}.json").write_bytes(b"")
    assert list(await spool.load()) == [report(1)]


async def test_a_disk_that_takes_no_reports_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="Not a directory"):
        await ReportSpool(tmp_path / "file" / "w1").keep([report(1)])
    (tmp_path / "w1" / f"{report(1).id}.json").mkdir(parents=True)
    with pytest.raises(Unavailable, match="Is a directory"):
        await ReportSpool(tmp_path / "w1").drop([report(1).id])
