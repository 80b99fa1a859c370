"""Where a client's bearer token comes from, and how long it is kept."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from adapters.credentials import ClientCredentials, NoToken, TokenFile
from domain.errors import Refused, Unavailable
from infra.serving import listening, serving


class Granting:
    """An issuer that counts what it grants. `lasting`: seconds; `instead`: what it answers in place of a token."""

    def __init__(self) -> None:
        self.granted, self.lasting, self.url = 0, 3600.0, ""
        self.instead: Response | None = None
        self.forms: list[dict[str, str]] = []

    async def about(self, request: Request) -> Response:
        return JSONResponse({"token_endpoint": f"{self.url}/token"})

    async def token(self, request: Request) -> Response:
        body = (await request.body()).decode()
        self.forms.append(dict(pair.split("=") for pair in body.split("&")))
        if self.instead is not None:
            return self.instead
        self.granted += 1
        return JSONResponse({"access_token": f"token {self.granted}", "expires_in": self.lasting})


@asynccontextmanager
async def granting() -> AsyncGenerator[Granting]:
    issuer, sock = Granting(), listening("127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    routes = [
        Route("/.well-known/openid-configuration", issuer.about),
        Route("/token", issuer.token, methods=["POST"]),
    ]
    async with serving(Starlette(routes=routes), sock):
        yield issuer


async def test_a_token_is_kept_between_programs_for_its_owner_alone(tmp_path: Path) -> None:
    cache = tmp_path / "tally" / "token.json"
    async with granting() as issuer:
        first = await ClientCredentials(issuer.url, "reader", "secret", cache).token()

        assert await ClientCredentials(issuer.url, "reader", "secret", cache).token() == first == "token 1"

    assert cache.stat().st_mode & 0o777 == 0o600
    assert "secret" not in cache.read_text()


async def test_a_token_about_to_expire_or_to_be_renewed_is_asked_for_anew(tmp_path: Path) -> None:
    async with granting() as issuer:
        credentials = ClientCredentials(issuer.url, "reader", "secret", tmp_path / "token.json")
        issuer.lasting = 59
        tokens = [await credentials.token(), await credentials.token()]
        issuer.lasting = 3600
        tokens += [await credentials.token(), await credentials.token(), await credentials.token(renewed=True)]

    assert tokens == ["token 1", "token 2", "token 3", "token 3", "token 4"]


async def test_a_kept_token_is_for_its_issuer_client_and_scope_only(tmp_path: Path) -> None:
    cache = tmp_path / "token.json"
    async with granting() as issuer:
        tokens = [
            await ClientCredentials(issuer.url, client, "secret", cache, scope).token()
            for client, scope in (("reader", None), ("admin", None), ("admin", "tasks:read"))
        ]

    assert tokens == ["token 1", "token 2", "token 3"]
    assert issuer.forms[-1] == {"grant_type": "client_credentials", "scope": "tasks%3Aread"}


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"token": "t"}', '{"until": "soon"}'])
async def test_a_kept_token_that_cannot_be_read_is_asked_for_anew(tmp_path: Path, kept: str) -> None:
    cache = tmp_path / "token.json"
    cache.write_text(kept)
    async with granting() as issuer:
        assert await ClientCredentials(issuer.url, "reader", "secret", cache).token() == "token 1"

    assert json.loads(cache.read_text())["token"] == "token 1"


async def test_a_client_that_the_issuer_refuses_is_told_why() -> None:
    async with granting() as issuer:
        issuer.instead = JSONResponse({"error": "invalid_client", "error_description": "wrong secret"}, 401)

        with pytest.raises(Refused, match="refused client reader: wrong secret") as caught:
            await ClientCredentials(issuer.url, "reader", "other").token()

    assert caught.value.problem.code == "no-token"
    assert "other" not in str(caught.value)


@pytest.mark.parametrize(
    "odd", [PlainTextResponse("bad gateway", 502), PlainTextResponse("hello"), JSONResponse([]), JSONResponse({})]
)
async def test_an_issuer_that_answers_something_else_is_not_reached(odd: Response) -> None:
    async with granting() as issuer:
        issuer.instead = odd

        with pytest.raises(Unavailable, match=issuer.url):
            await ClientCredentials(issuer.url, "reader", "secret").token()


async def test_an_issuer_that_is_down_is_not_reached() -> None:
    sock = listening("127.0.0.1", 0)
    address = f"http://127.0.0.1:{sock.getsockname()[1]}"
    sock.close()

    with pytest.raises(Unavailable, match="is not reached"):
        await ClientCredentials(address, "reader", "secret").token()


async def test_a_token_file_is_read_each_time_it_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    tokens = TokenFile(file)
    first = await tokens.token()
    file.write_text("two\n")

    assert (first, await tokens.token(), await NoToken().token()) == ("one", "two", None)


async def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"client\.token_file: .*absent: No such file"):
        await TokenFile(tmp_path / "absent").token()


@pytest.mark.parametrize("held", [b"", b"a\nb", b"\xff", b"a b"])
async def test_a_token_file_that_holds_something_else_is_named(tmp_path: Path, held: bytes) -> None:
    (tmp_path / "token").write_bytes(held)
    with pytest.raises(Refused, match="holds no token") as caught:
        await TokenFile(tmp_path / "token").token()
    assert caught.value.problem.code == "no-token"


async def test_an_issuers_address_may_end_with_a_slash() -> None:
    async with granting() as issuer:
        assert await ClientCredentials(issuer.url + "/", "reader", "secret").token() == "token 1"
