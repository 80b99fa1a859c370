"""Ids that must come out the same twice keep the form of UUID version 7."""

from hashlib import blake2b
from uuid import UUID


def derived_id(parent: UUID, name: str) -> UUID:
    """The id of `name` under `parent`: the parent's millisecond (so it sorts, and partitions, beside it) and a hash."""
    milliseconds = parent.int >> 80
    digest = int.from_bytes(blake2b(parent.bytes + name.encode(), digest_size=10).digest(), "big")
    value = (milliseconds << 80) | digest
    value = (value & ~(0xF << 76)) | (7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return UUID(int=value)
