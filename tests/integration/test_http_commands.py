"""Commands over HTTP, through the real processes: issuer, API, broker, handler, projector."""

import json
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from infra.dev.otlp_receiver import Received, Span, otlp_receiver, tree
from tests.support.broker import Management
from tests.support.platform import Platform, platform
from tests.support.stack import Servers

pytestmark = pytest.mark.integration
PROCESSES = ("issuer", "api", "handler", "projector")
NOOP = {"task_id": "P1", "executor": "noop", "labels": {"team": "data"}}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Received]:
    with otlp_receiver() as received:
        yield received


@pytest.fixture(scope="module")
def running(
    servers: Servers,
    pg_template: str,
    broker: tuple[dict[str, str], Management],
    receiver: Received,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("platform")
    telemetry = {"TALLY_OTEL__ENDPOINT": receiver.endpoint, "TALLY_OTEL__SAMPLE": "1"}
    with platform(servers, pg_template, broker[1], folder, PROCESSES, **telemetry) as running:
        yield running


@pytest.fixture(scope="module")
def admin(running: Platform) -> Iterator[httpx2.Client]:
    secrets = json.loads((running.system.folder / "issuer" / "clients.json").read_text())
    granted = httpx2.post(
        f"{running.system.issuer_url}/token",
        data={"grant_type": "client_credentials"},
        auth=("admin", secrets["admin"]),
    )
    headers = {"Authorization": f"Bearer {granted.json()['access_token']}"}
    with httpx2.Client(base_url=running.system.api_url, headers=headers, timeout=20) as client:
        yield client


def post(client: httpx2.Client, body: Any, key: str) -> httpx2.Response:
    return client.post("/v1/tasks", json=body, headers={"Idempotency-Key": key})


def test_a_posted_task_takes_effect_once_and_its_sender_is_its_actor(running: Platform, admin: httpx2.Client) -> None:
    key = str(uuid4())
    taken = post(admin, NOOP, key)
    assert taken.status_code == 202

    outcome = admin.get(taken.headers["location"], params={"wait": "PT15S"}).json()
    assert (outcome["outcome"], outcome["task_id"]) == ("accepted", "P1")
    task = admin.get("/v1/tasks/P1", params={"namespace": "default", "after_position": outcome["position"]}).json()
    assert (task["status"], task["labels"]) == ("queued", {"team": "data"})
    assert {event.actor for event in running.events("P1")} == {"admin"}

    events = len(running.events())
    assert post(admin, NOOP, key).status_code == 202
    reused = post(admin, {**NOOP, "priority": 9}, key)
    assert (reused.status_code, reused.json()["code"]) == (409, "id-reuse")
    second = post(admin, {"task_id": "P2", "executor": "noop"}, str(uuid4()))
    admin.get(second.headers["location"], params={"wait": "PT15S"})
    assert len(running.events()) == events + len(running.events("P2"))


def test_a_refused_command_is_told_to_who_asks(running: Platform, admin: httpx2.Client) -> None:
    taken = post(admin, {"task_id": "P3", "executor": "noop", "depends_on": [{"task_id": "nobody"}]}, str(uuid4()))
    outcome = admin.get(taken.headers["location"], params={"wait": "PT15S"}).json()
    assert outcome["outcome"] == "rejected"
    assert outcome["problem"]["code"] == "unknown-dependency"


def test_the_trace_of_a_posted_task_reaches_the_log_in_one_tree(
    running: Platform, admin: httpx2.Client, receiver: Received
) -> None:
    taken = post(admin, {"task_id": "P4", "executor": "noop"}, str(uuid4()))
    admin.get(taken.headers["location"], params={"wait": "PT15S"})
    traceparent = running.events("P4")[0].traceparent
    assert traceparent is not None

    def arrived(spans: Sequence[Span]) -> bool:
        names = {span.name for span in spans if span.trace_id == traceparent[3:35]}
        return {"POST /v1/tasks", "send task.commands", "process task.commands.handler"} <= names

    receiver.wait_for(arrived)
    found = tree(receiver.trace(traceparent[3:35]))
    assert found.connected, "\n".join(found.lines())
    assert {span.service for _, span in found.walk()} >= {"tally-api", "tally-handler"}


def test_a_ready_api_names_what_it_leans_on(admin: httpx2.Client) -> None:
    ready = admin.get("/readyz?verbose").json()
    assert ready == {"status": "ok", "checks": {"database": "ok", "broker": "ok", "views": "ok"}}
