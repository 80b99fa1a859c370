"""Bearer tokens: checked against the issuer's keys once, then known by their hash for a minute."""

import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from hashlib import sha256
from typing import Any, cast

from adapters.bearer import COMPACT, LONGEST, Rules, StrictBearerValidator
from adapters.issuer_keys import IssuerKeys
from domain.errors import InvalidToken
from domain.ports.authorising import Principal

KNOWN_FOR = 60.0
KNOWN_AT_MOST = 10_000


class BearerTokens:
    """Tokens of one issuer. `clock`: seconds since 1970."""

    def __init__(self, rules: Rules, keys: IssuerKeys, clock: Callable[[], float] = time.time) -> None:
        self._rules, self._keys, self._clock = rules, keys, clock
        self._known: dict[bytes, tuple[Principal, float]] = {}

    async def principal(self, token: str) -> Principal:
        now = self._clock()
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is not None and now < known[1]:
            return known[0]
        keys = await self._keys.having(_kid(token))
        principal = StrictBearerValidator(self._rules, keys, now).principal(token)
        if len(self._known) >= KNOWN_AT_MOST:
            self._known.clear()
        self._known[digest] = principal, min(now + KNOWN_FOR, principal.ends)
        return principal


def _kid(token: str) -> str | None:
    """The key that a token says it is signed with; nothing else of its header is read before the signature."""
    if len(token) > LONGEST or not COMPACT.fullmatch(token):
        raise InvalidToken("not a signed token of at most 8 KiB")
    try:
        head = token.partition(".")[0]
        header: Any = json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        raise InvalidToken("its header is not JSON") from None
    kid = cast("dict[str, Any]", header).get("kid") if isinstance(header, dict) else None
    return kid if isinstance(kid, str) else None
