"""Over HTTP: a command in, the story out, and nothing for those who may not."""

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest

from tests.support.platform import BUSYBOX, Platform
from tests.support.waiting import until

pytestmark = pytest.mark.e2e


def token(tally: Platform, client: str = "admin", scope: str | None = None) -> str:
    """A token of the development issuer, by the client-credentials flow."""
    secret = json.loads((tally.system.folder / "issuer" / "clients.json").read_text())[client]
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
    body = urllib.parse.urlencode({**form, **({"scope": scope} if scope else {})}).encode()
    with urllib.request.urlopen(f"{tally.system.issuer_url}/token", body, timeout=10) as answer:
        return str(json.load(answer)["access_token"])


def call(
    tally: Platform, method: str, path: str, bearer: str | None, body: Any = None
) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of one request."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"{tally.system.api_url}{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read().decode()


def test_a_task_posted_over_http_runs_and_can_be_asked_for(tally: Platform) -> None:
    bearer = token(tally)
    container = {"image": BUSYBOX, "command": ["echo", "over http"]}

    status, headers, _ = call(tally, "POST", "/v1/tasks", bearer, {"task_id": "posted", "container": container})
    assert status == 202
    _, _, outcome = call(tally, "GET", f"{headers['location']}?wait=PT10S", bearer)
    assert json.loads(outcome)["outcome"] == "accepted"

    tally.wait_ended("posted")
    tally.wait_caught_up("projector")
    _, _, text = call(tally, "GET", "/v1/tasks/posted?namespace=default", bearer)
    view = json.loads(text)
    assert (view["status"], view["exit_code"]) == ("succeeded", 0)
    _, _, runs = call(tally, "GET", "/v1/tasks/posted/runs?namespace=default", bearer)
    assert _log(tally, bearer, json.loads(runs)[0]["id"]) == "over http\n"


def _log(tally: Platform, bearer: str, run: str) -> str:
    """What a run printed, once the log keeper has it."""
    told = list[str]()

    def stored() -> bool:
        status, _, text = call(tally, "GET", f"/v1/runs/{run}/logs", bearer)
        told.append(text)
        return status == 200 and bool(text)

    until(stored, "the log keeper has what the run printed")
    return told[-1]


def test_the_sender_of_a_posted_command_is_the_one_of_the_token(tally: Platform) -> None:
    call(tally, "POST", "/v1/tasks", token(tally), {"task_id": "whose", "executor": "noop"})

    assert tally.wait_for("task.submitted.v1", "whose").actor == "admin"


def test_without_a_token_nothing_is_told(tally: Platform) -> None:
    status, headers, body = call(tally, "GET", "/v1/tasks", None)

    assert status == 401
    assert headers["www-authenticate"].startswith("Bearer")
    assert json.loads(body)["code"]


def test_a_token_without_the_scope_is_told_which_is_missing(tally: Platform) -> None:
    bearer = token(tally, "reader", "tasks:read ns:*")

    status, headers, _ = call(tally, "POST", "/v1/tasks", bearer, {"task_id": "no", "executor": "noop"})

    assert status == 403
    assert 'error="insufficient_scope"' in headers["www-authenticate"]
    assert "commands:write" in headers["www-authenticate"]


def test_a_token_of_another_namespace_sees_nothing(tally: Platform) -> None:
    tally.publish("task.submit.v1", {"task_id": "ours", "executor": "noop"})
    tally.wait_ended("ours")
    tally.wait_caught_up("projector")
    stream = tally.events("ours")[0].stream

    foreign = token(tally, "admin", "tasks:read ns:analytics")

    assert call(tally, "GET", f"/v1/tasks/{stream}", foreign)[0] == 404
    assert call(tally, "GET", f"/v1/tasks/{stream}", token(tally))[0] == 200
