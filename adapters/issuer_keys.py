"""An issuer's public keys: found by discovery, kept for ten minutes, renewed in the background. Never without them."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, RSAKey

from domain.errors import Unavailable

LARGEST = 1 << 20
RENEW_AFTER = 300.0
TRUST_FOR = 600.0
UNKNOWN_KEY_EVERY = 60.0
RETRY_AFTER = 1.0
GIVEN_UP_AFTER = 10.0
KINDS, SHORTEST_RSA = ("RSA", "EC", "OKP"), 2048
PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


class IssuerKeys:
    """The keys of one issuer. `clock`: seconds, monotonic."""

    def __init__(self, issuer: str, client: httpx2.AsyncClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer, self._client, self._clock = issuer, client, clock
        self._keys: KeySet | None = None
        self._fetched = self._tried = self._asked_for_unknown = float("-inf")
        self._lock = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None

    async def having(self, kid: str | None) -> KeySet:
        """The keys, which hold `kid` if the issuer has published it: an unknown one is asked for once a minute.

        Raises Unavailable when there are none younger than ten minutes.
        """
        age = self._clock() - self._fetched
        if self._keys is None or age > TRUST_FOR:
            await self._fetch(because_older_than=self._clock() - TRUST_FOR)
        elif age > RENEW_AFTER and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.create_task(self._renew())
        if kid is not None and self._lacks(kid) and self._may_ask_for_unknown():
            self._asked_for_unknown = self._clock()
            await self._renew()
        assert self._keys is not None
        return self._keys

    def _may_ask_for_unknown(self) -> bool:
        now = self._clock()
        return now - self._asked_for_unknown >= UNKNOWN_KEY_EVERY and now - self._tried >= RETRY_AFTER

    def _lacks(self, kid: str) -> bool:
        return self._keys is not None and all(key.kid != kid for key in self._keys.keys)

    async def _renew(self) -> None:
        try:
            await self._fetch(because_older_than=self._clock())
        except Unavailable:
            return  # those at hand are good until they are ten minutes old

    async def _fetch(self, because_older_than: float) -> None:
        async with self._lock:
            if self._fetched > because_older_than:
                return
            if self._clock() - self._tried < RETRY_AFTER:
                raise Unavailable(f"the keys of {self._issuer} could not be had a moment ago")
            try:
                async with asyncio.timeout(GIVEN_UP_AFTER):
                    metadata = await self._discover()
                    keys = _public_keys(await self._json(self._checked(metadata)))
            except (httpx2.HTTPError, ValueError, KeyError, TypeError, RecursionError, TimeoutError) as failed:
                raise Unavailable(f"the keys of {self._issuer} cannot be had: {type(failed).__name__}") from failed
            finally:
                self._tried = self._clock()  # those who waited meanwhile do not try each for himself
            self._keys, self._fetched = keys, self._clock()

    async def _discover(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0, else RFC 8414."""
        parts = urlsplit(self._issuer)
        openid = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        oauth = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"
        try:
            return await self._json(openid)
        except httpx2.HTTPStatusError:
            return await self._json(oauth)

    def _checked(self, metadata: dict[str, Any]) -> str:
        if metadata["issuer"] != self._issuer:
            raise ValueError("its metadata name another issuer")
        address = str(metadata["jwks_uri"])
        if urlsplit(address).scheme not in {"https", urlsplit(self._issuer).scheme}:
            raise ValueError("its keys would come over a weaker scheme than its own address")
        return address

    async def _json(self, address: str) -> dict[str, Any]:
        async with self._client.stream("GET", address, headers={"Accept": "application/json"}) as answer:
            answer.raise_for_status()
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > LARGEST:
                    raise ValueError("larger than 1 MiB")
        document = httpx2.Response(200, content=bytes(body)).json()
        if not isinstance(document, dict):
            raise TypeError("no object")
        return cast("dict[str, Any]", document)


def _public_keys(document: dict[str, Any]) -> KeySet:
    """The signing keys of a kind that is known here; others are left out (RFC 7517, section 5).

    Raises ValueError when there are none, or a private or shared one: such a set is not to be trusted at all.
    """
    listed: object = document["keys"]
    given = [cast("dict[str, Any]", key) for key in cast("list[object]", listed) if isinstance(key, dict)]
    if any(name in key for key in given for name in PRIVATE):
        raise ValueError("a private key is published")
    keys = [key for one in given if (key := _signing_key(one)) is not None]
    if not keys:
        raise ValueError("no key to check a signature with")
    return KeySet(keys)


def _signing_key(given: dict[str, Any]) -> Key | None:
    if given.get("use", "sig") != "sig" or given.get("kty") not in KINDS:
        return None
    try:
        [key] = KeySet.import_key_set({"keys": [given]}).keys
    except (JoseError, ValueError, KeyError, TypeError):
        return None
    return None if isinstance(key, RSAKey) and key.public_key.key_size < SHORTEST_RSA else key
