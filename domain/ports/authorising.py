"""Who is asking, and what he may do: from a bearer token that an issuer signed."""

from dataclasses import dataclass
from typing import Protocol

from domain.ports.querying import Allowed

SCOPES = (
    "tasks:read",
    "logs:read",
    "events:read",
    "schedules:read",
    "commands:read",
    "commands:write",
    "ops:read",
)


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller. `namespaces`: those his token names as scopes `ns:<name>`; None: all (`ns:*`).

    `ends`: when his token is good no longer, in seconds since 1970.
    """

    subject: str
    scopes: frozenset[str]
    namespaces: Allowed
    ends: float

    def reaches(self, namespace: str) -> bool:
        """Whether what lies in `namespace` exists for him."""
        return self.namespaces is None or namespace in self.namespaces


def principal_of(subject: str, scopes: frozenset[str], ends: float) -> Principal:
    """The caller that these scopes make."""
    names = frozenset(scope.removeprefix("ns:") for scope in scopes if scope.startswith("ns:"))
    return Principal(subject, scopes, None if "*" in names else names, ends)


class Tokens(Protocol):
    """Bearer tokens of one issuer."""

    async def principal(self, token: str) -> Principal:
        """Whose token it is.

        Raises InvalidToken for anything but a token of this issuer, for this audience, valid now; Unavailable while
        the issuer's keys cannot be had: then nothing is known to be wrong with the token.
        """
        ...
