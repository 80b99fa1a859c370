"""Single files into and out of containers, as the tar archives that the Docker Engine API wants."""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from domain.errors import CannotRun, EngineDown

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


def read_tar(stream: Iterable[bytes], path: str, size: int, limit: int) -> bytes:
    """The one regular file in a tar. Raises CannotRun result-too-large, result-invalid; EngineDown if it is cut off."""
    if size > limit:
        raise CannotRun("result-too-large", f"{path}: {size} bytes; at most {limit} are read")
    data = bytearray()
    for piece in stream:
        data += piece
        if len(data) > limit + BLOCKS:
            raise CannotRun("result-too-large", f"{path}: more than {limit} bytes")
    try:
        with tarfile.open(fileobj=io.BytesIO(bytes(data)), mode="r:") as tar:
            entry = tar.next()
            file = tar.extractfile(entry) if entry is not None and entry.isreg() else None
            if file is not None:
                return file.read()
    except tarfile.TarError as error:
        raise EngineDown(f"read {path}: cut off ({error})") from error
    raise CannotRun("result-invalid", f"{path}: not a regular file; write the result itself there, no link or folder")
