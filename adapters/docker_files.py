"""Single files into and out of containers, as the tar archives that the Docker Engine API wants."""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from domain.errors import CannotRun, EngineDown
from domain.ports.running import RESULT_LIMIT, Left, Planned
from domain.specs import INPUT_FILE

BLOCKS = 20 * 512
"""Bytes that a tar archive of one file has beyond the file."""


def place_for(planned: Planned) -> Iterator[tuple[str, bytes]]:
    """Folder and archive of what must be in a container before its start: its input, for all to read, and the files
    that it leaves, empty, its user's.

    The root is read-only and the folder of a fresh volume may be root's alone, so the files have to be there.
    """
    spec = planned.container
    left = [(path, b"", 0o666) for path in (spec.result, spec.artifacts) if path is not None]
    given = [(INPUT_FILE, planned.input, 0o444)] if planned.input is not None else []
    for path, data, mode in (*given, *left):
        entry, archive = tarfile.TarInfo(PurePosixPath(path).name), io.BytesIO()
        entry.mode, entry.size = mode, len(data)
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(entry, io.BytesIO(data))
        yield str(PurePosixPath(path).parent), archive.getvalue()


def read_tar(stream: Iterable[bytes], path: str, size: int, what: Left = "result") -> bytes:
    """The one regular file in a tar, of which `RESULT_LIMIT` bytes are read. Raises CannotRun result-too-large,
    result-invalid (with artifacts for result where that is `what` it is); EngineDown if it is cut off."""
    if size > RESULT_LIMIT:
        raise CannotRun(f"{what}-too-large", f"{path}: {size} bytes; at most {RESULT_LIMIT} are read")
    data = bytearray()
    for piece in stream:
        data += piece
        if len(data) > RESULT_LIMIT + BLOCKS:
            raise CannotRun(f"{what}-too-large", f"{path}: more than {RESULT_LIMIT} bytes")
    try:
        with tarfile.open(fileobj=io.BytesIO(bytes(data)), mode="r:") as tar:
            entry = tar.next()
            file = tar.extractfile(entry) if entry is not None and entry.isreg() else None
            if file is not None:
                return file.read()
    except tarfile.TarError as error:
        raise EngineDown(f"read {path}: cut off ({error})") from error
    raise CannotRun(f"{what}-invalid", f"{path}: not a regular file; write the {what} there, no link or folder")
