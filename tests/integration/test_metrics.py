"""What Prometheus gets to see."""

from pathlib import Path

import pytest

from adapters.measuring import GAUGES, Prometheus
from adapters.reading import open_reader
from domain.recorded import new_events
from tests.support.database import Database
from tests.support.histories import CAUSE, TASK, TASK_2, WORKER, registered, whole
from tests.support.http_api import running

pytestmark = pytest.mark.integration


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
