"""What is made of the states in which the engine shows a container, and of an engine that answers badly."""

from dataclasses import replace
from typing import Any

import pytest
from docker.errors import APIError
from requests import Response
from requests.exceptions import ConnectionError as NoConnection

from adapters import docker_client
from adapters.docker_config import Policy, from_labels, to_labels
from adapters.docker_engine import DockerEngine
from domain.errors import CannotRun, EngineDown
from tests.support import runs

NEVER, ONCE = "0001-01-01T00:00:00Z", "2026-11-21T03:12:40.5Z"


class Client:
    """An engine's answers, as the SDK gives them. `fails`: what a call raises."""

    base_url, api_version = "http://engine", "1.41"

    def __init__(self, state: dict[str, Any] | None = None, **fails: Exception) -> None:
        self._state, self._fails = state, fails

    def info(self) -> dict[str, Any]:
        self._fail("info")
        return {"ID": "E1"}

    def inspect_container(self, id: str) -> dict[str, Any]:
        self._fail("inspect")
        labels = to_labels(runs.planned(runs.TRUE).labels)
        return {"Id": id, "Config": {"Labels": labels}, "State": self._state, "Image": "sha256:1"}

    def ping(self) -> bool:
        self._fail("ping")
        return True

    def post(self, url: str, timeout: int) -> Response:
        return answer(400)

    def close(self) -> None:
        """Nothing is open."""

    def _fail(self, call: str) -> None:
        if call in self._fails:
            raise self._fails[call]


def answer(status: int) -> Response:
    response = Response()
    response.status_code = status
    response._content = b'{"message": "its own words"}'  # pyright: ignore[reportPrivateUsage]
    return response


def engine(client: Client) -> DockerEngine:
    return DockerEngine(client, client.info(), Policy(), runs=1)


@pytest.mark.parametrize(
    ("status", "started_at", "exit_code"),
    [("exited", ONCE, 0), ("dead", ONCE, 0), ("removing", ONCE, 0), ("dead", NEVER, None), ("removing", NEVER, None)],
)
async def test_a_container_that_was_never_started_has_no_exit_code(
    status: str, started_at: str, exit_code: int | None
) -> None:
    state = {"Status": status, "ExitCode": 0, "OOMKilled": False, "StartedAt": started_at}
    found = await engine(Client(state)).inspect("4f5e")
    assert found is not None
    assert (found.state, found.exit_code) == ("exited", exit_code)


@pytest.mark.parametrize("fails", [{"info": APIError("starting", answer(503))}, {"info": NoConnection("refused")}])
async def test_an_engine_that_is_not_ready_is_waited_for(
    fails: dict[str, Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(url: str | None, runs: int) -> Client:
        return Client(None, **fails)

    monkeypatch.setattr(docker_client, "_open", opened)
    with pytest.raises(EngineDown):
        async with docker_client.connect(None, Policy(), runs=1):
            pass


@pytest.mark.parametrize("lost", [APIError("starting", answer(503)), NoConnection("refused")])
async def test_an_engine_that_is_not_ready_does_not_answer_a_ping(lost: Exception) -> None:
    with pytest.raises(EngineDown):
        await engine(Client(None, ping=lost)).ping()


async def test_a_start_that_was_refused_stays_refused_when_the_engine_is_lost_right_after() -> None:
    with pytest.raises(CannotRun) as caught:
        await engine(Client(None, inspect=NoConnection("lost"))).start("4f5e", runs.nothing_against_it)
    assert (caught.value.code, "its own words" in caught.value.detail) == ("container-refused", True)


def test_a_container_s_labels_tell_all_that_a_restarted_worker_needs() -> None:
    labels = runs.planned(runs.TRUE, result="/r.json").labels
    full = replace(
        labels, image=runs.BUSYBOX, workflow_id="etl", workflow=str(runs.TASK), traceparent="00-1", tracestate="a=1"
    )

    assert from_labels(to_labels(full)) == full
    assert from_labels(to_labels(labels)) == labels
