"""What a settled task reads of those before it, and what their ends tell."""

from uuid import UUID

import pytest

from consumers import saga
from domain import events as e
from domain.dependencies import Standing
from domain.ends import known
from domain.ports.conducting import Agenda, Settled
from domain.recorded import Recorded
from domain.reports import Artifact
from domain.templates import Known
from tests.support.conducting import CAUSE, EPOCH, spec, stream
from tests.support.ended_tasks import NOW

MET, LOST = Standing(1, 1, 0), Standing(1, 0, 0, "a")


def submission(name: str, body: bytes) -> Recorded:
    return Recorded(1, stream(name), 1, e.TaskSubmitted.TYPE, body, EPOCH, NOW, "default", CAUSE)


def reader(name: str, *reads: str) -> Recorded:
    upstream = tuple(e.Upstream(task_id=one, stream=stream(one)) for one in ("a", "b", "c"))
    body = e.TaskSubmitted(task_id=name, spec=spec(name), depends_on=upstream, reads=reads).body()
    return submission(name, body)


def read(*rows: Recorded, standing: Standing = MET) -> dict[UUID, dict[str, UUID]]:
    agenda = Agenda(settled=[Settled(row.stream, stream("a"), [standing]) for row in rows])
    chosen = saga.reading(agenda, {row.stream: [row] for row in rows})
    return {task: dict(one) for task, one in chosen.items()}


def test_a_reader_reads_the_streams_that_its_templates_name() -> None:
    assert read(reader("r", "b", "c")) == {stream("r"): {"b": stream("b"), "c": stream("c")}}


def test_a_task_without_templates_is_not_even_parsed() -> None:
    assert read(submission("plain", b'{"task_id":"plain"')) == {}


def test_a_task_that_will_be_skipped_reads_nothing() -> None:
    assert read(reader("r", "a"), standing=LOST) == {}


def test_a_round_reads_so_many_streams_and_always_one_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saga, "READS", 2)
    assert list(read(reader("r1", "a", "b", "c"), reader("r2", "a"))) == [stream("r1")]
    assert list(read(reader("r1", "a"), reader("r2", "b", "a"), reader("r3", "c"))) == [stream("r1"), stream("r2")]


ARTIFACT = Artifact(name="m", uri="s3://b/m", sha256="ab" * 32, bytes=7)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (
            e.TaskSucceeded(task_id="a", runs=1, exit_code=0, result=[1], artifacts=(ARTIFACT,)),
            Known("succeeded", 0, [1], {"m": {"uri": "s3://b/m", "sha256": "ab" * 32, "bytes": 7}}),
        ),
        (e.TaskFailed(task_id="a", reason="oom", runs=1, exit_code=137), Known("failed", 137)),
        (e.TaskCancelled(task_id="a", by="alice", exit_code=143), Known("cancelled", 143)),
        (e.TaskSkipped(task_id="a", because="b"), Known("skipped")),
        (e.TaskExpired(task_id="a", reason="expires-at"), Known("expired")),
        (e.TaskQuarantined(task_id="a", reason="lost", runs=4), Known("quarantined")),
    ],
)
def test_each_end_tells_its_status_and_what_is_known_beside(end: e.TaskEvent, told: Known) -> None:
    assert known(end) == told
