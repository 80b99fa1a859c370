"""The development issuer: OAuth client credentials with real keys, for `tally dev`, compose and tests only.

Its folder holds `keys.json` (private) and `clients.json`: the clients `admin` (all scopes, all namespaces) and
`reader` (all that reads), with secrets made at the first start.
"""

import hmac
import json
import secrets
import time
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote_plus

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uuid_utils.compat import uuid7

from domain.ports.authorising import SCOPES

LIFE = 3600
CLIENTS: Mapping[str, Sequence[str]] = {
    "admin": (*SCOPES, "ns:*"),
    "reader": (*(scope for scope in SCOPES if scope.endswith(":read")), "ns:*"),
}


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """RFC 6749 section 5.2."""

    error: str
    description: str
    status: int = 400


class Issuer:
    """Keys, clients and tokens. `url` is the `iss` of its tokens."""

    def __init__(self, url: str, folder: Path, audience: str = "tallyport") -> None:
        self.url, self.audience, self._folder = url, audience, folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._keys = self._read_keys() or self.rotate()
        self.secrets = self._read_secrets()

    def rotate(self, keep: int = 1) -> KeySet:
        """Sign with a new key from now on; the `keep` newest of the old ones stay published."""
        old = self._read_keys()
        made = ECKey.generate_key("P-256", parameters={"kid": str(uuid7()), "use": "sig", "alg": "ES256"})
        self._keys = KeySet([made, *(old.keys[:keep] if old else [])])
        _write(self._folder / "keys.json", self._keys.as_dict(private=True))
        return self._keys

    def published(self) -> dict[str, Any]:
        """The public keys, as JWKS."""
        return dict(self._keys.as_dict(private=False))

    def token(self, client: str, scopes: Sequence[str] | None = None, seconds: int = LIFE) -> str:
        """A signed access token (RFC 9068) with these scopes, or all that the client may have. Raises Refusal."""
        allowed = CLIENTS[client]
        wanted = list(allowed if scopes is None else scopes)
        if beyond := [scope for scope in wanted if not _covers(allowed, scope)]:
            raise Refusal("invalid_scope", f"{client} may not have {beyond[0]}")
        return self.sign({"sub": client, "client_id": client, "scope": " ".join(wanted)}, seconds)

    def sign(self, claims: Mapping[str, Any], seconds: float = LIFE, header: Mapping[str, Any] | None = None) -> str:
        """A token with `claims` besides the usual ones, which they may override; None removes one. For tests."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": self.audience, "iat": now, "exp": now + int(seconds), "jti": str(uuid7())}
        key = self._keys.keys[0]
        head = {"alg": "ES256", "kid": key.kid, "typ": "at+jwt"} | dict(header or {})
        body = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return jwt.encode({name: v for name, v in head.items() if v is not None}, body, key, default_type=None)

    def grant(self, form: Mapping[str, str], basic: tuple[str, str] | None) -> dict[str, Any]:
        """The answer of the token endpoint. Raises Refusal."""
        client, secret = basic or (form.get("client_id", ""), form.get("client_secret", ""))
        known = self.secrets.get(client)
        if known is None or not hmac.compare_digest(known.encode(), secret.encode()):
            raise Refusal("invalid_client", "unknown client or wrong secret", 401)
        if form.get("grant_type") != "client_credentials":
            raise Refusal("unsupported_grant_type", "only client_credentials")
        scopes = form["scope"].split() if form.get("scope") else None
        token = self.token(client, scopes)
        granted = " ".join(CLIENTS[client] if scopes is None else scopes)
        return {"access_token": token, "token_type": "Bearer", "expires_in": LIFE, "scope": granted}

    def metadata(self) -> dict[str, Any]:
        """OpenID Connect Discovery and RFC 8414."""
        return {
            "issuer": self.url,
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": ["token"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "scopes_supported": [*SCOPES, "ns:*"],
        }

    def _read_keys(self) -> KeySet | None:
        file = self._folder / "keys.json"
        return KeySet.import_key_set(json.loads(file.read_text())) if file.exists() else None

    def _read_secrets(self) -> dict[str, str]:
        file = self._folder / "clients.json"
        if not file.exists():
            _write(file, {client: secrets.token_urlsafe(24) for client in CLIENTS})
        return cast("dict[str, str]", json.loads(file.read_text()))


def issuer_app(issuer: Issuer) -> Starlette:
    """The issuer over HTTP: metadata, keys, and POST /token."""

    async def metadata(_: Request) -> Response:
        return JSONResponse(issuer.metadata())

    async def jwks(_: Request) -> Response:
        return JSONResponse(issuer.published(), headers={"Cache-Control": "max-age=60"})

    async def token(request: Request) -> Response:
        body = (await request.body())[:8192].decode("latin-1")
        form = {name: values[-1] for name, values in parse_qs(body).items()}
        try:
            granted = issuer.grant(form, _basic(request.headers.get("authorization", "")))
        except Refusal as refusal:
            said = {"error": refusal.error, "error_description": refusal.description}
            headers = {"Cache-Control": "no-store"}
            if refusal.status == 401:
                headers["WWW-Authenticate"] = 'Basic realm="issuer"'
            return JSONResponse(said, refusal.status, headers)
        return JSONResponse(granted, headers={"Cache-Control": "no-store"})

    return Starlette(
        routes=[
            Route("/.well-known/openid-configuration", metadata),
            Route("/.well-known/oauth-authorization-server", metadata),
            Route("/jwks", jwks),
            Route("/token", token, methods=["POST"]),
        ]
    )


def _basic(header: str) -> tuple[str, str] | None:
    if not header.lower().startswith("basic "):
        return None
    try:
        client, _, secret = b64decode(header[6:], validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(client), unquote_plus(secret)


def _covers(allowed: Sequence[str], scope: str) -> bool:
    return scope in allowed or (scope.startswith("ns:") and "ns:*" in allowed)


def _write(file: Path, content: Any) -> None:
    part = file.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_text(json.dumps(content))
    part.replace(file)
