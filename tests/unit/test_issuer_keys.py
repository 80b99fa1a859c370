"""An issuer that hangs, talks nonsense or publishes keys of other kinds, and how little it is asked."""

import asyncio
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from adapters.bearer import Rules
from adapters.issuer_keys import IssuerKeys
from adapters.tokens import BearerTokens
from domain.errors import InvalidToken, Unavailable

URL = "http://issuer.test"
GOOD = ECKey.generate_key("P-256").as_dict(private=False) | {"kid": "good"}


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class Scripted(httpx2.AsyncBaseTransport):
    """An issuer whose keys are `jwks`; while it `hangs`, five seconds pass until it is given up."""

    def __init__(self, jwks: Any, clock: Clock) -> None:
        self.jwks, self.clock, self.asked, self.hangs = jwks, clock, 0, False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.hangs:
            self.asked += 1
            await asyncio.sleep(0)  # all others queue up meanwhile
            self.clock.at += 5
            raise httpx2.ReadTimeout("silence")
        if request.url.path == "/jwks":
            self.asked += 1
            return httpx2.Response(200, json=self.jwks)
        return httpx2.Response(200, json={"issuer": URL, "jwks_uri": f"{URL}/jwks"})


def scripted(*keys: Any) -> tuple[IssuerKeys, Scripted]:
    clock = Clock()
    issuer = Scripted({"keys": list(keys)}, clock)
    return IssuerKeys(URL, httpx2.AsyncClient(transport=issuer), clock), issuer


async def test_all_who_wait_for_a_silent_issuer_are_told_so_at_once() -> None:
    keys, issuer = scripted(GOOD)
    issuer.hangs = True

    told = await asyncio.gather(*(keys.having("good") for _ in range(20)), return_exceptions=True)

    assert {type(one) for one in told} == {Unavailable}
    assert issuer.asked == 1
    issuer.hangs = False
    issuer.clock.at += 2
    assert {key.kid for key in (await keys.having("good")).keys} == {"good"}


NONSENSE: list[dict[str, Any]] = [
    {"keys": ["x"]},
    {"keys": {"a": "b"}},
    {"keys": [None]},
    {"keys": [[]]},
    {"keys": None},
    {},
    {"keys": [{}]},
]


@pytest.mark.parametrize("jwks", NONSENSE, ids=str)
async def test_nonsense_instead_of_keys_is_an_outage_of_the_issuer(jwks: dict[str, Any]) -> None:
    keys, issuer = scripted()
    issuer.jwks = jwks
    with pytest.raises(Unavailable):
        await keys.having("good")


@pytest.mark.parametrize(
    "strange",
    [
        {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA", "kid": "curve"},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": "new"},
        {"kty": "RSA", "kid": "incomplete", "e": "AQAB"},
        {"kty": "RSA", "use": "enc", "kid": "enc", "n": "AA", "e": "AQAB"},
        {"kid": "no type"},
    ],
    ids=lambda key: key["kid"],
)
async def test_a_key_of_another_kind_does_not_spoil_the_others(strange: dict[str, Any]) -> None:
    keys, _ = scripted(strange, GOOD)
    assert {key.kid for key in (await keys.having("good")).keys} == {"good"}


async def test_a_key_asked_for_right_after_a_renewal_is_asked_for_again_soon() -> None:
    keys, issuer = scripted(GOOD)
    await keys.having("good")
    new = GOOD | {"kid": "new"}
    issuer.jwks = {"keys": [GOOD, new]}

    await keys.having("new")  # within a second of the last time: not asked
    issuer.clock.at += 2

    assert "new" in {key.kid for key in (await keys.having("new")).keys}


async def test_a_token_that_names_no_key_is_refused_where_there_are_several() -> None:
    private = ECKey.generate_key("P-256")
    keys, _ = scripted(private.as_dict(private=False) | {"kid": "a"}, GOOD)
    claims = {"iss": URL, "aud": "tallyport", "sub": "s", "client_id": "c", "iat": 1, "exp": 100, "jti": "j"}
    token = jwt.encode({"alg": "ES256", "typ": "at+jwt"}, claims, private)
    with pytest.raises(InvalidToken):
        await BearerTokens(Rules(URL, "tallyport"), keys, lambda: 50.0).principal(token)


@pytest.mark.parametrize("subject", ["a\nb", "a\u0000", "x" * 256], ids=ascii)
async def test_a_subject_that_no_event_can_name_is_refused(subject: str) -> None:
    private = ECKey.generate_key("P-256")
    keys, _ = scripted(private.as_dict(private=False) | {"kid": "a"})
    claims = {"iss": URL, "aud": "tallyport", "sub": subject, "client_id": "c", "iat": 1, "exp": 100, "jti": "j"}
    token = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": "a"}, claims, private)
    with pytest.raises(InvalidToken):
        await BearerTokens(Rules(URL, "tallyport"), keys, lambda: 50.0).principal(token)
