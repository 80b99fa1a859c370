"""Whom the handler believes, and for which namespaces."""

import pytest

from consumers import notifier, saga, scheduling, spreading, timekeeper
from consumers.deciding import DISPATCHER
from domain.errors import NotAllowed, Unreadable
from domain.principals import ANONYMOUS, OWN, Principal, Senders

EVERY = frozenset({"*"})
SENDERS = Senders({"client": frozenset({"analytics"}), "admin": EVERY, "saga": EVERY}, trusted=frozenset({"api"}))


def test_a_listed_user_speaks_for_its_own_namespaces() -> None:
    assert SENDERS.identify("client") == Principal("client", frozenset({"analytics"}))


def test_only_a_trusted_publisher_may_speak_for_another() -> None:
    assert SENDERS.identify("api", "alice") == Principal("alice", EVERY)
    assert SENDERS.identify("client", "alice").name == "client"


@pytest.mark.parametrize(
    ("user", "on_behalf_of", "reason"),
    [
        (None, None, "no-identity"),
        (None, "alice", "no-identity"),
        ("mallory", None, "unknown-identity"),
        ("api", None, "unknown-identity"),
        ("saga", None, "unknown-identity"),
        ("api", "timekeeper", "unknown-identity"),
    ],
)
def test_who_cannot_be_identified_is_not_heard(user: str | None, on_behalf_of: str | None, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        SENDERS.identify(user, on_behalf_of)

    assert caught.value.reason == reason


def test_where_identity_is_optional_the_unknown_speak_for_the_default_namespace_only() -> None:
    someone = Senders(required=False).identify(None)

    assert someone == ANONYMOUS
    someone.require("default")
    with pytest.raises(NotAllowed, match="anonymous may not act in analytics"):
        someone.require("analytics")


def test_who_may_act_nowhere_is_told_so() -> None:
    with pytest.raises(NotAllowed, match="or use one of none"):
        Principal("client", frozenset()).require("default")


def test_each_part_of_the_platform_that_decides_keeps_its_name_to_itself() -> None:
    assert {saga.ACTOR, timekeeper.ACTOR, scheduling.ACTOR, spreading.ACTOR, notifier.ACTOR, DISPATCHER} == OWN
