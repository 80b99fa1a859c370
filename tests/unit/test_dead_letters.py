"""What is kept of a message that nobody could be told about."""

from hashlib import sha256

import pytest

from consumers.dead_letters import KEPT_BYTES, KEPT_HEADERS, dead_letter, masked
from domain.errors import Unreadable
from tests.support.commands import COMMAND, command

WHY = Unreadable("bad-json", "line 1, column 2: a name in double quotes is needed")
KEY = b"-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"key": "AKIAIOSFODNN7EXAMPLE"}', b'{"key": "***"}'),
        (b'{"key": "' + KEY + b'"}', b'{"key": "***"}'),
        (b'{"key": "-----BEGIN PRIVATE KEY-----\nMIIB', b'{"key": "***'),
        (b"Authorization: Bearer abcdefgh.12345678", b"Authorization: ***"),
        (b"authorization: basic  dXNlcjpzZWNyZXQ=", b"authorization: ***"),
        (b'{"token": "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl"}', b'{"token": "***"}'),
        (b"amqp://user:secret@broker/tally", b"amqp://***@broker/tally"),
        (b"postgresql://tally:p%40ss@[::1]:5432/tally", b"postgresql://***@[::1]:5432/tally"),
    ],
)
def test_what_looks_like_a_secret_is_masked(body: bytes, kept: bytes) -> None:
    assert masked(body) == kept


@pytest.mark.parametrize("body", [b'{"image": "busybox:1.36"}', b"https://host:8443/path?a=b@c", b"the bearer of news"])
def test_what_is_no_secret_is_kept_as_it_is(body: bytes) -> None:
    assert masked(body) == body


def test_a_dead_letter_says_where_from_why_and_who() -> None:
    letter = dead_letter(COMMAND, "task.commands.handler", command("task.submit.v1", {}, headers={"a": 1}), WHY)

    assert (letter.id, letter.queue, letter.user, letter.message_id) == (
        COMMAND,
        "task.commands.handler",
        "client",
        str(COMMAND),
    )
    assert (letter.reason, letter.detail, letter.headers) == (WHY.reason, WHY.detail, {"a": "1"})


def test_no_dead_letter_is_larger_than_its_bounds_and_its_digest_is_of_the_whole() -> None:
    body = b"x" * (KEPT_BYTES + 1)
    headers = {f"h{n}": "v" * 1000 for n in range(KEPT_HEADERS + 1)}

    letter = dead_letter(COMMAND, "q", command("a.v1", {}, body=body, headers=headers, message_id="i" * 1000), WHY)

    assert (len(letter.body), letter.digest) == (KEPT_BYTES, sha256(body).digest())
    assert (len(letter.headers), {len(value) for value in letter.headers.values()}) == (KEPT_HEADERS, {256})
    assert letter.message_id == "i" * 256


def test_headers_are_kept_as_printable_text_without_their_secrets() -> None:
    headers = {"x-auth\n": "Bearer abcdefgh12345678", "bytes": b"\x00\xff", "nested": {"a": "\u202e"}}

    letter = dead_letter(COMMAND, "q", command("a.v1", {}, headers=headers, message_id="\x00\ud800"), WHY)

    assert letter.headers["x-auth?"] == "***"
    assert letter.message_id == "??"
    assert all(text.isprintable() for pair in letter.headers.items() for text in pair)
