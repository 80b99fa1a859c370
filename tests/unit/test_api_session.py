"""What a client makes of the API's answers, and of none."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx2
import pytest

from adapters.api_session import ApiSession
from adapters.platform_http import HttpPlatform
from domain.commands import CancelTask
from domain.errors import Refused, Unavailable
from domain.messages import Cause
from domain.ports.platform import Output
from domain.work import Reply

TASK = "0193f2a1-5c7e-7a10-8f00-3d1c5a9b7e01"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_FOUND = {
    "type": "https://tallyport.dev/problems/not-found",
    "title": "Not found",
    "status": 404,
    "detail": "no task T1",
    "code": "not-found",
}


@dataclass(slots=True)
class Server:
    """Answers in order, and keeps what it was asked."""

    answers: list[httpx2.Response | Exception]
    asked: list[httpx2.Request] = field(default_factory=list[httpx2.Request])

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Tokens:
    """Two tokens: the second when the first is to be renewed."""

    async def token(self, renewed: bool = False) -> str | None:
        return "second" if renewed else "first"


Session = Callable[..., tuple[ApiSession, Server]]


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    clients: list[httpx2.AsyncClient] = []

    def opened(*answers: httpx2.Response | Exception) -> tuple[ApiSession, Server]:
        server = Server(list(answers))
        clients.append(httpx2.AsyncClient(base_url="http://api.test", transport=httpx2.MockTransport(server)))
        return ApiSession(clients[-1], Tokens()), server

    yield opened
    for client in clients:
        await client.aclose()


def answer(status: int, json: Any = None, **more: Any) -> httpx2.Response:
    return httpx2.Response(status, json=json, **more)


async def test_a_token_that_is_not_taken_any_more_is_renewed_once(session: Session) -> None:
    api, server = session(answer(401), answer(200, []))

    assert await api.get("/v1/workers", {}) == []

    assert [request.headers["authorization"] for request in server.asked] == ["Bearer first", "Bearer second"]


async def test_a_renewed_token_that_is_not_taken_either_is_a_refusal(session: Session) -> None:
    api, server = session(answer(401), answer(401))

    with pytest.raises(Refused) as caught:
        await api.get("/v1/workers", {})

    assert (caught.value.problem.code, len(server.asked)) == ("no-token", 2)


async def test_what_the_platform_refuses_is_told_in_its_own_words(session: Session) -> None:
    api, _ = session(answer(404, NOT_FOUND))

    with pytest.raises(Refused, match="no task T1") as caught:
        await api.get("/v1/tasks/T1", {})

    assert (caught.value.problem.code, caught.value.problem.title) == ("not-found", "Not found")


@pytest.mark.parametrize("body", [b"", b"<html>not ours</html>", b"[]", b'"text"', b'{"code": 7}'])
async def test_a_refusal_in_words_that_are_not_the_platform_s_is_told_by_its_status(
    session: Session, body: bytes
) -> None:
    api, _ = session(httpx2.Response(418, content=body))

    with pytest.raises(Refused, match="GET /v1/tasks answered 418") as caught:
        await api.get("/v1/tasks", {})

    assert caught.value.problem.code == "unexpected"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_who_says_come_later_is_unavailable(session: Session, status: int) -> None:
    api, _ = session(answer(status))

    with pytest.raises(Unavailable):
        await api.get("/v1/tasks", {})


@pytest.mark.parametrize(
    ("error", "says"), [(httpx2.ConnectError("refused"), "refused"), (httpx2.ReadTimeout(""), "ReadTimeout")]
)
async def test_an_api_that_is_not_reached_is_unavailable_and_says_what_to_look_at(
    session: Session, error: Exception, says: str
) -> None:
    api, _ = session(error)

    with pytest.raises(Unavailable, match=f"http://api.test is not reached: {says}; is `tally dev` running"):
        await api.get("/v1/tasks", {})


async def test_a_list_is_read_through_its_pages_up_to_the_limit(session: Session) -> None:
    link = {"link": '<http://api.test/v1/tasks?cursor=2>; rel="next"'}
    api, server = session(
        answer(200, [{"n": 1}, {"n": 2}], headers=link), answer(200, [{"n": 3}, {"n": 4}], headers=link)
    )

    found = await HttpPlatform(api).tasks("default", {"status": "failed", "label.team": "data"}, 3)

    assert [row["n"] for row in found] == [1, 2, 3]
    first, second = server.asked
    assert dict(first.url.params) == {"limit": "3", "status": "failed", "label": "team=data", "namespace": "default"}
    assert second.url.params["cursor"] == "2"


async def test_the_log_is_read_through_its_pages_up_to_the_limit(session: Session) -> None:
    log = [{"position": position} for position in range(1, 1501)]
    api, server = session(answer(200, log[:1000]), answer(200, log[1000:]))

    assert await HttpPlatform(api).events("default", 0, ["task.failed.v1"], 1500) == log

    first, second = (dict(request.url.params) for request in server.asked)
    assert first == {"namespace": "default", "types": "task.failed.v1", "after": "0", "limit": "1000"}
    assert second == {**first, "after": "1000", "limit": "500"}


async def test_a_feed_that_breaks_is_taken_up_where_it_broke(session: Session) -> None:
    sse = {"content-type": "text/event-stream"}
    api, server = session(
        httpx2.Response(200, headers=sse, content=b'id: 7\ndata: {"stream": "stdout", "text": "a"}\n\n'),
        httpx2.ReadError("gone"),
        answer(503),
        httpx2.Response(
            200, headers=sse, content=b'id: 8\ndata: {"stream": "stderr", "text": "b"}\n\nevent: end\ndata: {}\n\n'
        ),
    )

    parts = [part async for part in HttpPlatform(api).output("R1", follow=True, tail=5)]

    assert parts == [Output("stdout", b"a"), Output("stderr", b"b")]
    assert [request.headers.get("last-event-id") for request in server.asked] == [None, "7", "7", "7"]
    assert dict(server.asked[0].url.params) == {"tail": "5", "follow": "true"}


async def test_a_feed_that_is_refused_ends(session: Session) -> None:
    api, _ = session(answer(404, NOT_FOUND))

    with pytest.raises(Refused, match="no task T1"):
        _ = [part async for part in HttpPlatform(api).output("R1", follow=True)]


async def test_a_command_is_posted_with_its_id_its_trace_and_nothing_that_is_left_out(session: Session) -> None:
    api, server = session(answer(202))
    cause = Cause("chain", "command", "alice", TRACE)

    assert await HttpPlatform(api).send(CancelTask(task_id="T1"), UUID(TASK), cause, answer=False) is None

    [request] = server.asked
    assert (request.headers["idempotency-key"], request.headers["traceparent"]) == (TASK, TRACE)
    assert "tracestate" not in request.headers
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert b'"data": {"namespace": "default", "task_id": "T1"}' in request.content


async def test_the_answer_to_a_command_is_asked_for_until_it_is_there(session: Session) -> None:
    reply = Reply(command_id=UUID(TASK), outcome="accepted", task_id="T1")
    api, server = session(answer(202), answer(404, NOT_FOUND), answer(202), answer(200, reply.model_dump(mode="json")))

    got = await HttpPlatform(api).send(CancelTask(task_id="T1"), UUID(TASK), Cause("c", "c", "a"), answer=True)

    assert got == reply
    assert server.asked[-1].url.params["wait"] == "PT20S"


@pytest.mark.parametrize(("ref", "params"), [(TASK, {}), ("T1", {"namespace": "default"})])
async def test_an_id_needs_no_namespace_and_a_name_does(session: Session, ref: str, params: dict[str, str]) -> None:
    api, server = session(answer(200, {}), answer(200, []))

    await HttpPlatform(api).task(ref, "default")
    await HttpPlatform(api).runs(ref, "default")

    assert [dict(request.url.params) for request in server.asked] == [params, params]


async def test_a_name_is_one_part_of_the_path_whatever_it_holds(session: Session) -> None:
    api, server = session(answer(200, {}))

    await HttpPlatform(api).task("../workers?x=1", "default")

    assert server.asked[0].url.raw_path.split(b"?")[0] == b"/v1/tasks/..%2Fworkers%3Fx%3D1"
