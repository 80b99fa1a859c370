"""What Prometheus gets to see."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from adapters import counting
from adapters.counting import LogCounts
from adapters.measuring import GAUGES, Prometheus
from adapters.reading import Reader, open_reader
from domain import events as e
from domain.ids import derived_id
from domain.recorded import Recorded, new_events
from tests.support.database import Database
from tests.support.histories import (
    CAUSE,
    TASK,
    TASK_2,
    TASK_3,
    WORKER,
    WORKFLOW,
    Log,
    leased,
    queued,
    registered,
    run_id,
    run_succeeded,
    started,
    submitted,
    whole,
)
from tests.support.http_api import running

pytestmark = pytest.mark.integration


LATE = derived_id(WORKFLOW, "late")


async def test_metrics_count_what_waits_what_lags_and_what_was_answered(pg: Database, tmp_path: Path) -> None:
    async with open_reader(pg.read, 1) as reader:
        measures = Prometheus(reader, "1.2.3")
        async with running(pg, tmp_path / "issuer", measures=measures) as api:
            await api.append(*whole(TASK)[:2], *new_events(WORKER, 0, "_", [registered()], CAUSE))
            there = await api.append(*whole(TASK_2, namespace="analytics")[:2])
            await api.get(f"/v1/tasks?after_position={there}")
            await api.get(f"/v1/tasks/{TASK}")
            await api.client.get("/nowhere/secret-id")

            text = (await measures.text()).decode()

    assert 'tally_task_queue_depth{namespace="analytics",status="queued"} 1.0' in text
    assert 'tally_projection_lag{name="projector"} 0.0' in text
    assert "tally_dead_letters 0.0" in text
    assert 'cicd_worker_count{cicd_worker_state="' in text
    counted = 'http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200"'
    assert counted + ',http_route="/v1/tasks/{task_id}"} 1.0' in text
    assert "secret-id" not in text
    assert str(TASK) not in text


async def test_every_figure_can_be_read_by_the_reading_role(pg: Database) -> None:
    async with open_reader(pg.read, 1) as reader:
        for gauge in GAUGES.values():
            for row in await reader.rows(gauge.query):
                assert len(row) == 1 + len(gauge.labels)


async def test_durations_and_expired_leases_are_counted_once_from_the_first_look_on(pg: Database) -> None:
    log = Log().add(TASK_3, submitted(), queued(), leased(), started(), run_succeeded())
    async with open_reader(pg.read, 1) as reader:
        measures = Prometheus(reader, "1.2.3")
        record(pg, log.events)
        before = await measures.text()
        more = len(log.events)
        failed = e.RunFailed(task_id="T1", run_id=run_id(), run=1, fence=2, reason="oom", exit_code=137)
        expired = e.LeaseExpired(task_id="T1", run_id=run_id(), fence=1, worker_id="W1", accepted=False)
        log.add(TASK, submitted(), queued(), leased(), expired, queued(after="offer-not-accepted"), leased(fence=2))
        log.add(TASK_2, submitted(), queued(), leased(), started(), run_succeeded(), namespace="analytics")
        log.add(TASK, started(fence=2)).add(TASK_3, queued()).add(TASK, failed)
        log.add(WORKFLOW, e.WorkflowSubmitted(workflow_id="F1", tasks=()))
        log.add(TASK_3, queued(), queued()).add(WORKFLOW, e.WorkflowFinished(workflow_id="F1", succeeded=2))
        log.add(LATE, e.WorkflowSubmitted(workflow_id="F2", tasks=()))
        log.add(LATE, e.WorkflowFinished(workflow_id="F2", succeeded=1, expired=1))
        record(pg, log.events[more:])

        first, second = await measures.text(), await measures.text()

    assert counted(before) == {}
    assert counted(first) == counted(second)
    assert counted(first) == {
        ("tally_task_wait_duration_seconds", 'namespace="default"'): (2.0, 2.0),
        ("tally_task_wait_duration_seconds", 'namespace="analytics"'): (1.0, 1.0),
        ("tally_run_duration_seconds", 'namespace="analytics",reason=""'): (1.0, 1.0),
        ("tally_run_duration_seconds", 'namespace="default",reason="oom"'): (1.0, 2.0),
        ("cicd_pipeline_run_duration_seconds", 'cicd_pipeline_result="success",namespace="default"'): (1.0, 3.0),
        ("cicd_pipeline_run_duration_seconds", 'cicd_pipeline_result="failure",namespace="default"'): (1.0, 1.0),
    }
    lines = first.decode().splitlines()
    assert 'tally_lease_expired_total{namespace="default"} 1.0' in lines
    oom = 'tally_run_duration_seconds_bucket{le="%s",namespace="default",reason="oom"} %s'
    assert {oom % ("1", "0.0"), oom % ("2.5", "1.0"), oom % ("+Inf", "1.0")} <= set(lines)


async def test_tasks_that_took_a_result_are_counted_and_those_that_left_one_are_not(pg: Database) -> None:
    first = e.CachedFrom(task_id="T2", stream=TASK_2, ended_at=datetime.now(UTC))
    own = e.TaskSucceeded(task_id="T2", runs=1, result={"cached_from": "elsewhere"})
    took = e.TaskSucceeded(task_id="T1", runs=0, result={"cached_from": "elsewhere"}, cached_from=first)
    async with open_reader(pg.read, 1) as reader:
        counts = LogCounts(reader)
        await counts.look()
        log = Log().add(TASK_2, submitted(), own)
        record(pg, log.add(TASK, submitted(), took).add(TASK_3, submitted(), took, namespace="analytics").events)

        await counts.look()

    found = [one for family in counts.collect() if family.name == "tally_cache_hits" for one in family.samples]
    assert {one.labels["namespace"]: one.value for one in found} == {"default": 1, "analytics": 1}


async def test_one_look_counts_more_than_a_page_of_the_log(pg: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "EVENTS_A_PAGE", 4)
    async with open_reader(pg.read, 1) as reader:
        counts = LogCounts(reader)
        await counts.look()
        record(pg, lives(TASK, TASK_2, TASK_3))

        await counts.look()

    assert runs_counted(counts) == 3


async def test_a_look_leaves_the_rest_to_the_next_when_its_time_is_over(
    pg: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "EVENTS_A_PAGE", 5)
    monkeypatch.setattr(counting, "LOOK_SECONDS", 0.0)
    found: list[float] = []
    async with open_reader(pg.read, 1) as reader:
        counts = LogCounts(reader)
        await counts.look()
        record(pg, lives(TASK, TASK_2, TASK_3))

        for _ in range(3):
            await counts.look()
            found.append(runs_counted(counts))

    assert found == [1, 2, 3]


async def test_a_page_that_took_too_long_once_is_counted_at_the_next_looks(
    pg: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "FEWEST", 5)
    async with open_reader(pg.read, 1) as reader:
        slow = Slow(reader)
        counts = LogCounts(slow)
        await counts.look()
        record(pg, lives(TASK, TASK_2, TASK_3))

        slow.too_long = 1
        await counts.look()
        await counts.look()

    assert runs_counted(counts) == 3


async def test_what_takes_too_long_even_in_the_smallest_page_is_passed_over_alone(
    pg: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(counting, "EVENTS_A_PAGE", 10)
    monkeypatch.setattr(counting, "FEWEST", 5)
    async with open_reader(pg.read, 1) as reader:
        slow = Slow(reader)
        counts = LogCounts(slow)
        await counts.look()
        record(pg, lives(TASK, TASK_2, TASK_3))

        slow.too_long = 2
        await counts.look()
        await counts.look()

    assert runs_counted(counts) == 2
    assert re.search(r"events \d+ to \d+ are not counted", caplog.text)


async def test_nothing_is_counted_twice_when_one_look_finds_a_standby_that_lags(pg: Database) -> None:
    async with open_reader(pg.read, 1) as reader:
        several = Slow(reader)
        counts = LogCounts(several)
        await counts.look()
        record(pg, lives(TASK))
        await counts.look()
        several.head = 1
        await counts.look()
        several.head = None

        await counts.look()

    assert runs_counted(counts) == 1


async def test_lag_in_seconds_is_the_age_of_the_oldest_event_that_is_left(pg: Database) -> None:
    now = datetime.now(UTC)
    log = Log().add(TASK, submitted(), queued())
    old = [
        replace(event, recorded_at=now - timedelta(minutes=age)) for event, age in zip(log.events, (9, 5), strict=True)
    ]
    record(pg, old)
    with psycopg.connect(pg.owner) as owner:
        owner.execute(
            "INSERT INTO consumers (name, position) SELECT u.name, p.at + u.ahead FROM "
            "(SELECT min(notification_id) AS at FROM events) p, (VALUES ('projector', 0), ('relay', 1)) u(name, ahead)"
        )
    async with open_reader(pg.read, 1) as reader:
        text = (await Prometheus(reader, "1.2.3").text()).decode()

    (behind,) = (
        line for line in text.splitlines() if line.startswith('tally_projection_lag_seconds{name="projector"}')
    )
    assert 300 <= float(behind.split()[-1]) < 420
    assert 'tally_projection_lag_seconds{name="relay"} 0.0' in text


class Slow(Reader):
    """Another reader: the next `too_long` countings take the database too long. `head`: where its log ends, if told."""

    def __init__(self, reader: Reader, head: int | None = None) -> None:
        self._reader, self.too_long, self.head = reader, 0, head

    async def rows(self, text: str, *parameters: object) -> list[tuple[Any, ...]]:
        if "width_bucket" in text and self.too_long:
            self.too_long -= 1
            return await self._reader.rows("SET statement_timeout = 10; SELECT pg_sleep(60)")
        if "max(notification_id)" in text and self.head is not None:
            return [(self.head,)]
        return await self._reader.rows(text, *parameters)


def lives(*tasks: UUID) -> Sequence[Recorded]:
    """Five events of each task, the last of them its run's success."""
    log = Log()
    for task in tasks:
        log.add(task, submitted(), queued(), leased(), started(), run_succeeded())
    return log.events


def runs_counted(counts: LogCounts) -> float:
    """How many runs have ended, as far as the looks have found."""
    found = [
        one for family in counts.collect() if family.name == "tally_run_duration_seconds" for one in family.samples
    ]
    return sum(one.value for one in found if one.name.endswith("_count"))


def record(pg: Database, events: Sequence[Recorded]) -> None:
    """Put events into the log as recorded at their own times."""
    with psycopg.connect(pg.app) as app:
        for event in events:
            app.execute(
                "INSERT INTO events (originator_id, originator_version, topic, state, event_id, recorded_at, "
                "namespace, correlation_id, causation_id, actor) VALUES (%s, %s, %s, %s, %s, %s, %s, 'c', 'c', 'a')",
                (
                    event.stream,
                    event.version,
                    event.type,
                    event.body,
                    event.event_id,
                    event.recorded_at,
                    event.namespace,
                ),
            )


def counted(text: bytes) -> dict[tuple[str, str], tuple[float, float]]:
    """Count and seconds of each histogram of the log's, by name and labels."""
    found = re.findall(r"^(tally\w+|cicd\w+)_(count|sum)\{(.*)\} (.*)$", text.decode(), re.MULTILINE)
    values = {(name, labels, kind): float(value) for name, kind, labels, value in found}
    return {(n, ls): (values[n, ls, "count"], values[n, ls, "sum"]) for n, ls, kind in values if kind == "count"}
