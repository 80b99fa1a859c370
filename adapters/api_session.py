"""Requests to the HTTP API: the token, what its refusals mean, pages, and feeds that are taken up where they broke."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import httpx2

from domain.errors import PROBLEMS, Refused, Unavailable
from domain.ports.credentials import Bearer
from domain.ports.platform import View
from domain.work import Problem

CONNECT_SECONDS, READ_SECONDS, FEED_SECONDS = 5.0, 15.0, 40.0
PAUSE_SECONDS = 0.5
AWAY = frozenset({429, 502, 503, 504})
NONE = timedelta(0)


@asynccontextmanager
async def open_api(url: str, bearer: Bearer) -> AsyncGenerator["ApiSession"]:
    """A session with the API at `url`."""
    async with httpx2.AsyncClient(base_url=url, headers={"user-agent": "tally"}, trust_env=False) as client:
        yield ApiSession(client, bearer)


@dataclass(frozen=True, slots=True)
class ApiSession:
    """One user's requests. Each raises Refused, or Unavailable when the API is not reached or says to come later."""

    client: httpx2.AsyncClient
    bearer: Bearer

    async def get(self, path: str, params: Mapping[str, str], wait: timedelta = NONE) -> Any:
        """The JSON at `path`, which may take `wait` to come."""
        return (await self.request("GET", path, wait, params=dict(params))).json()

    async def pages(self, path: str, params: list[tuple[str, str]], limit: int) -> list[View]:
        """A list through all of its pages, `limit` at most."""
        found: list[View] = []
        answer = await self.request("GET", path, params=params)
        while True:
            found += cast("list[View]", answer.json())
            further = answer.links.get("next", {}).get("url")
            if further is None or len(found) >= limit:
                return found[:limit]
            answer = await self.request("GET", further)

    async def feed(self, path: str, params: Mapping[str, str]) -> AsyncIterator[httpx2.ServerSentEvent]:
        """Server-sent events up to the one named `end`, through lost connections."""
        seen: dict[str, str] = {}
        while True:
            try:
                async for event in self._fed(path, params, seen):
                    if event.event == "end":
                        return
                    yield event
                    seen = {"last-event-id": event.id}
            except (httpx2.HTTPError, Unavailable):
                pass
            await asyncio.sleep(PAUSE_SECONDS)

    async def request(self, method: str, path: str, wait: timedelta = NONE, **kept: Any) -> httpx2.Response:
        """Any request; one that a renewed token may help is made again."""
        headers = kept.pop("headers", {})
        timeout = httpx2.Timeout(READ_SECONDS + wait.total_seconds(), connect=CONNECT_SECONDS)
        try:
            answer = await self.client.request(
                method, path, headers={**headers, **await self._authorization()}, timeout=timeout, **kept
            )
            if answer.status_code == 401:
                renewed = {**headers, **await self._authorization(renewed=True)}
                answer = await self.client.request(method, path, headers=renewed, timeout=timeout, **kept)
        except httpx2.HTTPError as error:
            why = str(error) or type(error).__name__
            raise Unavailable(f"API {self.client.base_url} is not reached: {why}; is `tally dev` running?") from error
        return checked(answer)

    async def _fed(
        self, path: str, params: Mapping[str, str], seen: Mapping[str, str]
    ) -> AsyncIterator[httpx2.ServerSentEvent]:
        headers = {**await self._authorization(), **seen}
        timeout = httpx2.Timeout(FEED_SECONDS, connect=CONNECT_SECONDS)
        async with self.client.sse(path, params=dict(params), headers=headers, timeout=timeout) as source:
            if source.response.status_code != 200:
                await source.response.aread()
                checked(source.response)
            async for event in source:
                yield event

    async def _authorization(self, renewed: bool = False) -> dict[str, str]:
        token = await self.bearer.token(renewed)
        return {} if token is None else {"authorization": f"Bearer {token}"}


def checked(answer: httpx2.Response) -> httpx2.Response:
    """`answer` if it is good. Raises Refused, Unavailable."""
    if answer.status_code < 400:
        return answer
    problem = _problem(answer)
    if answer.status_code in AWAY:
        raise Unavailable(f"API: {problem.detail}")
    raise Refused(problem)


def _problem(answer: httpx2.Response) -> Problem:
    try:
        said = cast("dict[str, Any]", answer.json())
        return Problem(**{name: said[name] for name in Problem.model_fields if name in said})
    except (ValueError, TypeError):
        code = {401: "no-token", 403: "not-allowed", 404: "not-found"}.get(answer.status_code, "unexpected")
        detail = f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}"
        return Problem(type=PROBLEMS + code, title=answer.reason_phrase, detail=detail, code=code)
