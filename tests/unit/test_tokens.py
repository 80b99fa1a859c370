"""Which bearer tokens open the door, and that no forgery does."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from adapters.bearer import Rules
from adapters.issuer_keys import IssuerKeys
from adapters.tokens import BearerTokens
from domain.errors import InvalidToken, Unavailable
from infra.issuer import Issuer, Refusal, issuer_app

URL = "http://issuer.test"
DAY, HOUR = 86_400, 3600  # seconds; claims are made long before their test runs


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(URL, tmp_path / "issuer")


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def keys_of(issuer: Issuer, clock: Callable[[], float] = time.monotonic) -> IssuerKeys:
    return IssuerKeys(URL, httpx2.AsyncClient(transport=httpx2.ASGITransport(issuer_app(issuer))), clock)


def tokens_of(issuer: Issuer, **rules: Any) -> BearerTokens:
    return BearerTokens(Rules(URL, "tallyport", **rules), keys_of(issuer))


async def test_a_token_names_its_subject_scopes_and_namespaces(issuer: Issuer) -> None:
    tokens = tokens_of(issuer)

    principal = await tokens.principal(issuer.token("reader", ["tasks:read", "ns:analytics", "ns:default"]))

    assert principal.subject == "reader"
    assert principal.scopes == {"tasks:read", "ns:analytics", "ns:default"}
    assert principal.namespaces == frozenset({"analytics", "default"})
    assert principal.reaches("analytics")
    assert not principal.reaches("other")
    assert (await tokens.principal(issuer.token("admin"))).namespaces is None
    assert (await tokens.principal(issuer.token("reader", ["tasks:read"]))).namespaces == frozenset()


FORGED_CLAIMS: dict[str, dict[str, Any]] = {
    "expired": {"exp": int(time.time()) - 31},
    "exp missing": {"exp": None},
    "exp a string": {"exp": str(int(time.time()) + 60)},
    "exp NaN": {"exp": float("nan")},
    "exp infinite": {"exp": float("inf")},
    "exp true": {"exp": True},
    "exp in a list": {"exp": [int(time.time()) + 60]},
    "exp more than a day away": {"exp": int(time.time()) + DAY + HOUR},
    "exp in the year 9999": {"exp": 253_402_300_799},
    "nbf ahead": {"nbf": int(time.time()) + HOUR},
    "nbf a string": {"nbf": "now"},
    "iat ahead": {"iat": int(time.time()) + HOUR},
    "iat missing": {"iat": None},
    "iat true": {"iat": True},
    "aud other": {"aud": "billing"},
    "aud missing": {"aud": None},
    "aud an object": {"aud": {"tallyport": 1}},
    "aud a list of others": {"aud": ["billing", "tallyport2"]},
    "aud a list of numbers": {"aud": [1]},
    "iss with a slash added": {"iss": URL + "/"},
    "iss other": {"iss": "http://evil.test"},
    "iss missing": {"iss": None},
    "iss a list": {"iss": [URL]},
    "no sub": {"sub": None},
    "empty sub": {"sub": ""},
    "sub a number": {"sub": 7},
    "sub a part of the platform": {"sub": "dispatcher"},
    "no client_id": {"client_id": None},
    "empty client_id": {"client_id": ""},
    "client_id a list": {"client_id": ["reader"]},
    "no jti": {"jti": None},
    "scope an object": {"scope": {"tasks:read": True}},
    "scope a list": {"scope": ["tasks:read", "ns:*"]},
    "scope a number": {"scope": 1},
}
FORGED_HEADERS: dict[str, dict[str, Any]] = {
    "no typ": {"typ": None},
    "empty typ": {"typ": ""},
    "an ID token's typ": {"typ": "JWT"},
    "unknown kid": {"kid": "nobody"},
    "jwk in the header": {"jwk": ECKey.generate_key("P-256").as_dict(private=False)},
    "jku in the header": {"jku": "https://evil.test/jwks"},
    "x5u in the header": {"x5u": "https://evil.test/x5u"},
}


@pytest.mark.parametrize("forged", FORGED_CLAIMS.values(), ids=FORGED_CLAIMS.keys())
async def test_a_signed_token_with_wrong_claims_is_refused(issuer: Issuer, forged: dict[str, Any]) -> None:
    good = {"sub": "reader", "client_id": "reader", "scope": "tasks:read ns:*"}
    assert (await tokens_of(issuer).principal(issuer.sign(good))).subject == "reader"

    with pytest.raises(InvalidToken):
        await tokens_of(issuer).principal(issuer.sign({**good, **forged}))


@pytest.mark.parametrize("forged", FORGED_HEADERS.values(), ids=FORGED_HEADERS.keys())
async def test_a_token_with_a_wrong_header_is_refused(issuer: Issuer, forged: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        await tokens_of(issuer).principal(issuer.sign({"sub": "reader", "client_id": "reader"}, header=forged))


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _swap_header(token: str, **changes: Any) -> str:
    head, body, signature = token.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    return ".".join((_part({**header, **changes}), body, signature))


def _hs256_with_the_public_key(token: str, issuer: Issuer) -> str:
    head, body, _ = token.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    signed = f"{_part({**header, 'alg': 'HS256'})}.{body}"
    mac = hmac.new(json.dumps(issuer.published()["keys"][0]).encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


FORGED_TEXT: dict[str, Callable[[str, Issuer], str]] = {
    "alg none, no signature": lambda t, _: _swap_header(t, alg="none").rsplit(".", 1)[0] + ".",
    "alg none, old signature": lambda t, _: _swap_header(t, alg="none"),
    "alg None in another case": lambda t, _: _swap_header(t, alg="nOnE"),
    "HS256 with the public key": _hs256_with_the_public_key,
    "another alg than the key's": lambda t, _: _swap_header(t, alg="RS256"),
    "alg a list": lambda t, _: _swap_header(t, alg=["ES256"]),
    "kid a list": lambda t, _: _swap_header(t, kid=["x"]),
    "unknown crit": lambda t, _: _swap_header(t, crit=["exp2"], exp2=1),
    "five parts": lambda t, _: t + ".a.b",
    "two parts": lambda t, _: t.rsplit(".", 1)[0],
    "empty signature": lambda t, _: t.rsplit(".", 1)[0] + ".",
    "changed signature": lambda t, _: t[:-8] + ("A" * 8 if t[-8:] != "A" * 8 else "B" * 8),
    "changed body": lambda t, _: ".".join((t.split(".")[0], _part({"sub": "root"}), t.split(".")[2])),
    "newline at the end": lambda t, _: t + "\n",
    "space inside": lambda t, _: t[:20] + " " + t[20:],
    "padding": lambda t, _: t + "=",
    "empty": lambda _t, _: "",
    "not JSON": lambda _t, _: "aaaa.bbbb.cccc",
    "header an array": lambda t, _: base64.urlsafe_b64encode(b"[1]").rstrip(b"=").decode() + t[t.index(".") :],
    "deep header": lambda t, _: base64.urlsafe_b64encode(b"[" * 3000).rstrip(b"=").decode() + t[t.index(".") :],
    "too long": lambda t, _: t + "A" * 9000,
    "not ASCII": lambda t, _: "ä" + t,
    "lone surrogate": lambda t, _: "\udc80" + t,
}


@pytest.mark.parametrize("forge", FORGED_TEXT.values(), ids=FORGED_TEXT.keys())
async def test_a_token_that_was_tampered_with_is_refused(issuer: Issuer, forge: Callable[[str, Issuer], str]) -> None:
    with pytest.raises(InvalidToken):
        await tokens_of(issuer).principal(forge(issuer.token("admin"), issuer))


async def test_a_token_of_another_key_with_the_known_kid_is_refused(issuer: Issuer, tmp_path: Path) -> None:
    other = Issuer(URL, tmp_path / "other")
    forged = other.sign({"sub": "admin", "client_id": "admin"}, header={"kid": issuer.published()["keys"][0]["kid"]})
    with pytest.raises(InvalidToken):
        await tokens_of(issuer).principal(forged)


async def test_clocks_may_differ_by_the_leeway(issuer: Issuer) -> None:
    tokens = tokens_of(issuer)
    client = {"sub": "reader", "client_id": "reader"}
    expired = await tokens.principal(issuer.sign({**client, "exp": int(time.time()) - 20}))
    early = await tokens.principal(issuer.sign({**client, "nbf": int(time.time()) + 20}))
    assert (expired.subject, early.subject) == ("reader", "reader")


PROFILES: dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]] = {
    "keycloak": (
        {"typ": "JWT"},
        {"typ": "Bearer", "azp": "cli", "scope": "tasks:read ns:a", "aud": ["account", "tallyport"]},
        {"tasks:read", "ns:a"},
    ),
    "auth0": (
        {"typ": "JWT"},
        {"azp": "cli", "scope": "tasks:read", "permissions": ["ns:a"], "jti": None},
        {"tasks:read", "ns:a"},
    ),
    "entra": (
        {"typ": "JWT"},
        {"azp": "cli", "ver": "2.0", "roles": ["tasks:read", "ns:a"], "jti": None},
        {"tasks:read", "ns:a"},
    ),
    "custom": ({"typ": "JWT"}, {"client_id": "cli", "scope": ["tasks:read", "ns:a"]}, {"tasks:read", "ns:a"}),
}


@pytest.mark.parametrize("profile", PROFILES)
async def test_each_issuer_profile_reads_the_default_tokens_of_its_issuer(issuer: Issuer, profile: str) -> None:
    header, claims, scopes = PROFILES[profile]
    token = issuer.sign({"sub": "user", **claims}, header=header)

    assert (await tokens_of(issuer, profile=profile).principal(token)).scopes == scopes
    with pytest.raises(InvalidToken):
        await tokens_of(issuer).principal(token)


@pytest.mark.parametrize(
    ("profile", "changes"),
    [
        ("keycloak", {"typ": "ID"}),
        ("keycloak", {"typ": "Refresh"}),
        ("auth0", {"nonce": "n"}),
        ("auth0", {"at_hash": "h"}),
        ("entra", {"ver": "1.0"}),
        ("entra", {"nonce": "n"}),
        ("entra", {"azp": None}),
    ],
)
async def test_an_id_token_is_no_access_token(issuer: Issuer, profile: str, changes: dict[str, Any]) -> None:
    header, claims, _ = PROFILES[profile]
    with pytest.raises(InvalidToken):
        await tokens_of(issuer, profile=profile).principal(
            issuer.sign({"sub": "user", **claims, **changes}, header=header)
        )


KEYS: dict[str, Callable[[], RSAKey | ECKey | OKPKey]] = {
    "RS256": lambda: RSAKey.generate_key(2048),
    "PS256": lambda: RSAKey.generate_key(2048),
    "ES256": lambda: ECKey.generate_key("P-256"),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
}


@pytest.mark.parametrize("alg", KEYS)
async def test_all_four_algorithms_are_taken_and_each_can_be_forbidden(alg: str) -> None:
    key = KEYS[alg]()
    keys = issuer_publishing({"keys": [{**key.as_dict(private=False), "kid": "k"}]})
    now = int(time.time())
    claims = {"iss": URL, "aud": "tallyport", "sub": "s", "client_id": "c", "iat": now, "exp": now + 60, "jti": "j"}
    token = jwt.encode({"alg": alg, "kid": "k", "typ": "at+jwt"}, claims, key, algorithms=[alg])

    assert (await BearerTokens(Rules(URL, "tallyport"), keys).principal(token)).subject == "s"
    others = tuple(KEYS.keys() - {alg})
    with pytest.raises(InvalidToken):
        await BearerTokens(Rules(URL, "tallyport", algorithms=others), keys).principal(token)


def issuer_publishing(jwks: Any, metadata: dict[str, Any] | None = None) -> IssuerKeys:
    found = {"issuer": URL, "jwks_uri": f"{URL}/jwks", **(metadata or {})}

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=jwks if request.url.path == "/jwks" else found)

    return IssuerKeys(URL, httpx2.AsyncClient(transport=httpx2.MockTransport(answer)))


@pytest.mark.parametrize(
    ("jwks", "metadata"),
    [
        ({"keys": []}, None),
        ({"keys": [ECKey.generate_key("P-256").as_dict(private=True)]}, None),
        ({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}, None),
        ({"keys": [RSAKey.generate_key(1024).as_dict(private=False)]}, None),
        ({"keys": "x" * (2 << 20)}, None),
        ([], None),
        ({"keys": []}, {"issuer": URL + "/"}),
        ({"keys": []}, {"jwks_uri": "ftp://issuer.test/jwks"}),
    ],
    ids=["none", "private", "shared", "short", "2 MiB", "an array", "another issuer", "ftp"],
)
async def test_keys_that_cannot_be_trusted_let_nobody_in(jwks: Any, metadata: dict[str, Any] | None) -> None:
    with pytest.raises(Unavailable):
        await issuer_publishing(jwks, metadata).having("k")


class Counting(httpx2.AsyncBaseTransport):
    """The issuer, which may be down, and how often its keys were asked for."""

    def __init__(self, issuer: Issuer) -> None:
        self.asked, self.down, self._issuer = 0, False, httpx2.ASGITransport(issuer_app(issuer))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.down:
            raise httpx2.ConnectError("refused")
        self.asked += request.url.path == "/jwks"
        return await self._issuer.handle_async_request(request)


async def test_an_unknown_key_is_asked_for_at_most_once_a_minute(issuer: Issuer) -> None:
    clock, transport = Clock(), Counting(issuer)
    keys = IssuerKeys(URL, httpx2.AsyncClient(transport=transport), clock)
    await keys.having(None)
    clock.at += 2
    for _ in range(20):
        await keys.having("nobody")
    assert transport.asked == 2

    issuer.rotate()
    new = issuer.published()["keys"][0]["kid"]
    assert new not in {key.kid for key in (await keys.having(new)).keys}
    clock.at += 61
    found = {key.kid for key in (await keys.having(new)).keys}
    assert found == {key["kid"] for key in issuer.published()["keys"]}
    assert len(found) == 2


async def test_keys_outlive_their_issuer_for_ten_minutes_and_no_longer(issuer: Issuer) -> None:
    clock, transport = Clock(), Counting(issuer)
    keys = IssuerKeys(URL, httpx2.AsyncClient(transport=transport), clock)
    await keys.having(None)
    transport.down = True

    clock.at += 599
    assert await keys.having(None)
    clock.at += 2
    with pytest.raises(Unavailable):
        await keys.having(None)
    transport.down = False
    clock.at += 2
    assert await keys.having(None)


async def test_a_known_token_is_checked_again_after_a_minute_and_never_outlives_itself(issuer: Issuer) -> None:
    clock = Clock()
    clock.at = time.time()
    tokens = BearerTokens(Rules(URL, "tallyport"), keys_of(issuer), clock)
    token = issuer.token("reader", seconds=20)
    first = await tokens.principal(token)

    assert await tokens.principal(token) is first
    clock.at += 51
    with pytest.raises(InvalidToken):
        await tokens.principal(token)


def test_a_client_gets_no_scope_beyond_its_own_and_none_with_a_wrong_secret(issuer: Issuer) -> None:
    form = {"grant_type": "client_credentials"}
    granted = issuer.grant({**form, "scope": "tasks:read ns:analytics"}, ("reader", issuer.secrets["reader"]))
    assert (granted["scope"], granted["expires_in"]) == ("tasks:read ns:analytics", 3600)

    with pytest.raises(Refusal) as beyond:
        issuer.grant({**form, "scope": "commands:write"}, ("reader", issuer.secrets["reader"]))
    assert beyond.value.error == "invalid_scope"
    with pytest.raises(Refusal) as wrong:
        issuer.grant(form, ("admin", issuer.secrets["reader"]))
    assert wrong.value.error == "invalid_client"


async def test_a_wrong_secret_is_told_how_clients_say_who_they_are(issuer: Issuer) -> None:
    transport = httpx2.ASGITransport(issuer_app(issuer))
    async with httpx2.AsyncClient(transport=transport, base_url=URL) as client:
        refused = await client.post("/token", data={"grant_type": "client_credentials"}, auth=("admin", "wrong"))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert refused.headers["www-authenticate"].startswith("Basic ")


def test_keys_and_secrets_outlive_a_restart_and_are_private(tmp_path: Path) -> None:
    first = Issuer(URL, tmp_path)
    again = Issuer(URL, tmp_path)

    assert again.secrets == first.secrets
    assert again.published() == first.published()
    assert all("d" not in key for key in first.published()["keys"])
    assert {oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()} == {"0o600"}
