# pyright: basic, reportMissingTypeStubs=false
"""Access tokens by RFC 9068, and as Keycloak, Auth0 and Entra write them: Authlib's validator, made strict.

Authlib alone accepts a token without `typ`, one that never ends and scopes of any shape, refuses the other issuers'
tokens, and lets the token choose among every algorithm it knows.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from authlib.oauth2.rfc9068.claims import JWTAccessTokenClaims
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from domain.errors import InvalidToken
from domain.ports.authorising import Principal, principal_of
from domain.principals import OWN

LONGEST = 8 * 1024
LONGEST_LIFE = 24 * 3600
COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
ACCESS_TOKEN = ("at+jwt", "application/at+jwt")
NEVER_IN_HEADER = ("jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip")
ID_TOKEN_MARKS = ("nonce", "at_hash", "c_hash")


@dataclass(frozen=True, slots=True)
class Profile:
    """How an issuer writes its access tokens. `scopes`: claims that list them, as words of a string or as an array."""

    types: Sequence[str]
    scopes: Sequence[str]
    clients: Sequence[str]
    essential: Sequence[str] = ()


PROFILES: Mapping[str, Profile] = {
    "rfc9068": Profile(ACCESS_TOKEN, ("scope",), ("client_id",), ("iat", "jti")),
    "keycloak": Profile(("jwt", *ACCESS_TOKEN), ("scope",), ("azp", "client_id"), ("iat",)),
    "auth0": Profile(("jwt", *ACCESS_TOKEN), ("scope", "permissions"), ("azp", "client_id"), ("iat",)),
    "entra": Profile(("jwt", *ACCESS_TOKEN), ("scp", "roles"), ("azp", "appid"), ("iat",)),
}
LISTS = ("permissions", "roles")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a token must be. `now` is in seconds since 1970."""

    issuer: str
    audience: str
    profile: str = "rfc9068"
    leeway: timedelta = timedelta(seconds=30)
    algorithms: Sequence[str] = ("RS256", "PS256", "ES256", "EdDSA")
    scope_claim: str = "scope"
    client_claim: str = "client_id"

    def written(self) -> Profile:
        """This issuer's profile."""
        custom = Profile(("jwt", *ACCESS_TOKEN), (self.scope_claim,), (self.client_claim,), ("iat",))
        return PROFILES.get(self.profile, custom)


class ProfiledClaims(JWTAccessTokenClaims):  # type: ignore[misc]
    """Claims of one profile, judged at one moment."""

    rules: Rules

    def validate(self, now: float = 0, leeway: float = 0) -> None:
        profile = self.rules.written()
        if str(self.header.get("typ", "")).lower() not in profile.types:
            raise InvalidToken(f"typ is {self.header.get('typ')!r}; this API takes {', '.join(profile.types)}")
        if "at+jwt" not in str(self.header.get("typ")).lower():
            self._is_no_id_token()
        super(JWTAccessTokenClaims, self).validate(now=int(now), leeway=int(leeway))
        if not now - leeway < self["exp"] <= now + leeway + LONGEST_LIFE:
            raise InvalidToken("exp is past, or more than a day away")
        for claim in ("iat", "nbf"):
            if claim in self and not (_is_number(self[claim]) and self[claim] <= now + leeway):
                raise InvalidToken(f"{claim} is no time, or lies ahead")

    def _is_no_id_token(self) -> None:
        if self.rules.profile == "keycloak" and self.get("typ") != "Bearer":
            raise InvalidToken("typ is not Bearer: an access token is needed")
        if self.rules.profile == "entra" and self.get("ver") != "2.0":
            raise InvalidToken("ver is not 2.0: ask for a v2 access token")
        if found := [mark for mark in ID_TOKEN_MARKS if mark in self]:
            raise InvalidToken(f"{found[0]} marks an ID token: an access token is needed")


class StrictBearerValidator(JWTBearerTokenValidator):  # type: ignore[misc]
    """Authlib's RFC 9068 validator with keys parsed once, an allow-list of algorithms, and an issuer's profile."""

    def __init__(self, rules: Rules, keys: KeySet, now: float) -> None:
        super().__init__(rules.issuer, rules.audience)
        self.rules, self.keys, self.now = rules, keys, now

    def get_jwks(self) -> KeySet:
        return self.keys

    def authenticate_token(self, token_string: str) -> ProfiledClaims:
        """The claims behind a good signature."""
        token = jwt.decode(token_string, self.keys, algorithms=list(self.rules.algorithms))
        if found := [name for name in NEVER_IN_HEADER if name in token.header]:
            raise InvalidToken(f"header {found[0]} is not taken from a token")
        essential = ("iss", "exp", "aud", "sub", *self.rules.written().essential)
        options: dict[str, Any] = {name: {"essential": True} for name in essential}
        options["iss"]["validate"] = self.validate_iss
        options["aud"]["value"] = self.rules.audience
        _check_shapes(token.claims)
        claims = ProfiledClaims(token.claims, token.header, options)
        claims.rules = self.rules
        return claims

    def principal(self, token_string: str) -> Principal:
        """Whose token it is. Raises InvalidToken."""
        if len(token_string) > LONGEST or not COMPACT.fullmatch(token_string):
            raise InvalidToken("not a signed token of at most 8 KiB")
        try:
            claims = self.authenticate_token(token_string)
            claims.validate(self.now, self.rules.leeway.total_seconds())
        except (JoseError, ValueError, TypeError, OverflowError, RecursionError) as invalid:
            raise InvalidToken(f"{type(invalid).__name__}: expired, not for this API, or not by its issuer") from None
        if not _client(claims, self.rules.written()):
            raise InvalidToken("no client id")
        ends = claims["exp"] + self.rules.leeway.total_seconds()
        return principal_of(claims["sub"], _scopes(claims, self.rules), ends)


def _check_shapes(claims: Mapping[str, Any]) -> None:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
        raise InvalidToken("sub is missing, empty, longer than 255 characters, or no printable text")
    if subject in OWN:
        raise InvalidToken("sub is the name of a part of the platform itself")
    if not _is_number(claims.get("exp")):
        raise InvalidToken("exp is missing, or no time")
    audience = claims.get("aud")
    if not isinstance(audience, str) and not (
        isinstance(audience, list) and all(isinstance(one, str) for one in audience)
    ):
        raise InvalidToken("aud is missing")


def _is_number(value: object) -> bool:
    return (type(value) is int or type(value) is float) and abs(value) < 1e12


def _client(claims: Mapping[str, Any], profile: Profile) -> str | None:
    found = [claims[name] for name in profile.clients if isinstance(claims.get(name), str) and claims[name]]
    return found[0] if found else None


def _scopes(claims: Mapping[str, Any], rules: Rules) -> frozenset[str]:
    scopes: set[str] = set()
    for name in rules.written().scopes:
        value = claims.get(name, "")
        as_list = name in LISTS or rules.profile == "custom"
        if isinstance(value, str):
            scopes.update(value.split())
        elif as_list and isinstance(value, list) and all(isinstance(one, str) for one in value):
            scopes.update(value)
        else:
            raise InvalidToken(f"{name} has the wrong shape")
    return frozenset(scopes)
