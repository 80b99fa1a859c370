"""JSON from strangers: one object, strict, nothing in it that a database or another parser would read otherwise.

Refused as Unreadable: bad-encoding, bad-json, not-object, bad-number, dup-key, too-deep, bad-char.
"""

import re
from typing import Any, cast

import jiter

from domain.errors import Unreadable

MAX_DEPTH = 16
MAX_INTEGER = 2**64

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[{\]}]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_NO_NUMBER = re.compile(rb"NaN|Infinity|[0-9]{20}")
_WORTH_A_WALK = re.compile(rb"\\u0000|[0-9][eE]|[0-9]{20}")


def strict_object(body: bytes) -> dict[str, Any]:
    """The object that `body` holds. Raises Unreadable."""
    _check_encoding(body)
    try:
        value = jiter.from_json(body, catch_duplicate_keys=True, allow_inf_nan=False)
    except ValueError as error:
        raise _diagnosed(body, str(error)) from None
    if not isinstance(value, dict):
        raise Unreadable("not-object", f"the body is {_kind(value)}; send one JSON object")
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH or _WORTH_A_WALK.search(body):
        _walk(value, 1)
    return cast("dict[str, Any]", value)


def _check_encoding(body: bytes) -> None:
    if b"\0" in body or body.startswith(b"\xef\xbb\xbf"):
        raise Unreadable("bad-encoding", "the body begins with a byte-order mark or holds NUL bytes; send plain UTF-8")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Unreadable("bad-encoding", f"byte {error.start} is not UTF-8; send UTF-8") from None


def _diagnosed(body: bytes, said: str) -> Unreadable:
    bare = _STRING.sub(b'""', body)
    if _depth(bare) > MAX_DEPTH:
        return _too_deep()
    if _NO_NUMBER.search(bare):
        return Unreadable("bad-number", "a number is NaN, infinite or has more than 19 digits; send it as a string")
    if _parses(body):
        return Unreadable("dup-key", "an object names the same key twice; send each once")
    if _parses(_SURROGATE.sub(b"?", body)):
        return Unreadable("bad-char", "a string holds half a surrogate pair; send the whole character")
    return Unreadable("bad-json", said[:200])


def _depth(bare: bytes) -> int:
    deepest = depth = 0
    for bracket in _BRACKET.finditer(bare):
        depth += 1 if bracket.group() in b"[{" else -1
        deepest = max(deepest, depth)
        if deepest > MAX_DEPTH:
            break
    return deepest


def _parses(body: bytes) -> bool:
    try:
        jiter.from_json(body, catch_duplicate_keys=False, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def _walk(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise Unreadable("bad-char", "a string holds the character U+0000; leave it out")
    elif isinstance(value, dict | list):
        _walk_into(cast("dict[str, Any] | list[Any]", value), depth)
    elif isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            raise Unreadable("bad-number", "a number is too large for 64-bit floating point; send it as a string")
    elif isinstance(value, int) and abs(value) >= MAX_INTEGER:
        raise Unreadable("bad-number", "an integer needs more than 64 bits; send it as a string")


def _walk_into(value: dict[str, Any] | list[Any], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, dict):
        for key in value:
            _walk(key, depth)
        value = list(value.values())
    for item in value:
        _walk(item, depth + 1)


def _too_deep() -> Unreadable:
    return Unreadable("too-deep", f"the body nests deeper than {MAX_DEPTH} levels; flatten it")


def _kind(value: Any) -> str:
    names = {"NoneType": "null", "list": "an array", "str": "a string", "bool": "a truth value"}
    return names.get(value.__class__.__name__, "a number")
