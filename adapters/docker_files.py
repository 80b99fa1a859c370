"""Single files into and out of containers, as the tar archives that the Docker Engine API wants."""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from domain.errors import CannotRun

BLOCKS = 20 * 512
"""Bytes that a tar archive of one file has beyond the file."""


def place_for(body: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Folder and archive of what must be in a container before its start: its result file, empty, its user's.

    The root is read-only and the folder of a fresh volume may be root's alone, so the file itself has to be there.
    """
    result = body["Labels"].get("tally.result")
    if result is None:
        return
    path = PurePosixPath(result)
    entry, archive = tarfile.TarInfo(path.name), io.BytesIO()
    entry.mode = 0o666
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(entry)
    yield str(path.parent), archive.getvalue()


def read_tar(stream: Iterable[bytes], path: str, size: int, limit: int) -> bytes | None:
    """The one regular file in a tar; None if it is something else. Raises CannotRun result-too-large."""
    if size > limit:
        raise CannotRun("result-too-large", f"{path}: {size} bytes; at most {limit} are read")
    data = bytearray()
    for piece in stream:
        data += piece
        if len(data) > limit + BLOCKS:
            raise CannotRun("result-too-large", f"{path}: more than {limit} bytes")
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as tar:
        entry = tar.next()
        file = tar.extractfile(entry) if entry is not None and entry.isfile() else None
        return file.read() if file is not None else None
