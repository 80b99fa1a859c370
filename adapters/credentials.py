"""Bearer tokens for clients: from a file, or by OAuth client credentials with renewal."""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2

from domain.errors import PROBLEMS, Refused, Unavailable
from domain.work import Problem

SPARE_SECONDS = 60.0
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class NoToken:
    """Nobody is logged in."""

    async def token(self, renewed: bool = False) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A token that somebody else renews in a file."""

    path: Path

    async def token(self, renewed: bool = False) -> str | None:
        """What the file holds now. Raises Refused."""
        try:
            held = self.path.read_text(encoding="latin-1").strip()
        except OSError as error:
            raise no_token(f"client.token_file: {self.path}: {error.strerror}") from error
        if not _TOKEN.fullmatch(held):
            raise no_token(f"client.token_file: {self.path}: holds no token, or more than that")
        return held


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """A client known to an issuer. `cache`: a file, its owner's alone, that keeps the token between programs."""

    issuer: str
    client_id: str
    secret: str
    cache: Path | None = None
    scope: str | None = None

    async def token(self, renewed: bool = False) -> str | None:
        """The token of the last time while it lasts, else a new one."""
        kept = None if renewed else self._kept()
        if kept is not None:
            return kept
        granted = await self.grant()
        if self.cache is not None:
            until = time.time() + float(granted.get("expires_in", 300)) - SPARE_SECONDS
            write_private(self.cache, {"token": granted["access_token"], "until": until, "for": self._who()})
        return str(granted["access_token"])

    async def grant(self) -> dict[str, Any]:
        """The issuer's answer to a request for a token (RFC 6749 section 5.1). Raises Refused, Unavailable."""
        try:
            async with httpx2.AsyncClient(timeout=10, trust_env=False) as client:
                about = await client.get(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
                form = {"grant_type": "client_credentials", **({"scope": self.scope} if self.scope else {})}
                endpoint = cast("dict[str, str]", about.raise_for_status().json())["token_endpoint"]
                answer = await client.post(endpoint, data=form, auth=(self.client_id, self.secret))
                said = cast("dict[str, Any]", answer.json())
                granted = said["access_token"] if answer.status_code == 200 else None
                refused = None if granted else said.get("error_description") or said["error"]
        except (httpx2.HTTPError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise Unavailable(f"issuer {self.issuer} is not reached: {str(error) or type(error).__name__}") from error
        if refused is not None:
            raise no_token(f"the issuer refused client {self.client_id}: {refused}")
        return said

    def _kept(self) -> str | None:
        """None too for a file that is not there or holds something else."""
        if self.cache is None:
            return None
        try:
            kept = cast("dict[str, Any]", json.loads(self.cache.read_text()))
            fits = kept["for"] == self._who() and kept["until"] > time.time()
            return str(kept["token"]) if fits else None
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def _who(self) -> list[str | None]:
        return [self.issuer, self.client_id, self.scope]


def no_token(detail: str) -> Refused:
    """There is no token to be had."""
    return Refused(Problem(type=PROBLEMS + "no-token", title="No token", detail=detail, code="no-token"))


def write_private(path: Path, data: dict[str, Any]) -> None:
    """JSON that only its owner may read, replaced as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(data))
    new.replace(path)
