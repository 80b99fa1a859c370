"""Who sent a command, and for which namespaces he may speak. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from domain.errors import NotAllowed, Unreadable

EVERY = "*"
OWN = frozenset({"dispatcher", "timekeeper", "saga", "notifier"})
"""The parts of the platform that decide by themselves: history names them as it names users."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A sender whose name the broker, or a trusted publisher, has verified. `namespaces` may hold `*`: all."""

    name: str
    namespaces: frozenset[str]

    def require(self, namespace: str) -> None:
        """Raises NotAllowed unless the principal may act in `namespace`."""
        if not self.namespaces & {namespace, EVERY}:
            raise NotAllowed(
                f"namespace: {self.name} may not act in {namespace}; ask for it in commands.principals, "
                f"or use one of {', '.join(sorted(self.namespaces)) or 'none'}"
            )


ANONYMOUS = Principal("anonymous", frozenset({"default"}))


@dataclass(frozen=True, slots=True)
class Senders:
    """Whom to believe. `principals`: broker user -> namespaces. `trusted`: users that have checked a token themselves.

    `required` False lets an unidentified sender in as `anonymous`, for namespace `default` only.
    """

    principals: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    trusted: frozenset[str] = frozenset()
    required: bool = True

    def identify(self, user: str | None, on_behalf_of: str | None = None) -> Principal:
        """The principal behind a message. Raises Unreadable no-identity or unknown-identity."""
        if user is None:
            if self.required:
                raise Unreadable("no-identity", "user_id is missing; set it to the broker user you connect as")
            return ANONYMOUS
        other = on_behalf_of if user in self.trusted else None
        name = other or user
        if name in OWN:
            raise Unreadable("unknown-identity", f"{name} is a part of the platform itself; give the user another name")
        if other:
            return Principal(name, frozenset({EVERY}))
        if user not in self.principals:
            raise Unreadable("unknown-identity", f"user_id {user} is not listed in commands.principals")
        return Principal(user, self.principals[user])
