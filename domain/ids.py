"""Ids that must come out the same twice keep the form of UUID version 7."""

import re
from hashlib import blake2b
from uuid import UUID

from domain.messages import is_uuid

_CHILD = re.compile(r"(.+)\[(0|[1-9][0-9]{0,3})\]")


def derived_id(parent: UUID, name: str) -> UUID:
    """The id of `name` under `parent`: the parent's millisecond (so it sorts, and partitions, beside it) and a hash."""
    milliseconds = parent.int >> 80
    digest = int.from_bytes(blake2b(parent.bytes + name.encode(), digest_size=10).digest(), "big")
    value = (milliseconds << 80) | digest
    value = (value & ~(0xF << 76)) | (7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return UUID(int=value)


def child_stream(parent: UUID, index: int) -> UUID:
    """The stream of a child of a task with `for_each`: derived, so that it is submitted once and found by its index.

    Ids grow with time, and a child of a higher index counts as the later one: the index, below 2**14, is in the bits
    that follow the millisecond.
    """
    derived = derived_id(parent, f"child:{index}").int & ~(0xFFF << 64 | 0x3 << 60)
    return UUID(int=derived | (index >> 2) << 64 | (index & 3) << 60)


def child_name(parent: str, index: int) -> str:
    """What it is called: no user's task can be called so."""
    return f"{parent}[{index}]"


def child_of(name: str) -> tuple[str, int] | None:
    """What the parent is called, and the index; None: it is no name of a child."""
    found = _CHILD.fullmatch(name)
    return (found[1], int(found[2])) if found else None


def spelt(name: str) -> UUID | None:
    """The stream whose id, or whose parent's id, `name` spells."""
    if (child := child_of(name)) is None:
        return is_uuid(name)
    parent = is_uuid(child[0])
    return child_stream(parent, child[1]) if parent else None
