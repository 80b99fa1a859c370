"""A result file as the engine hands it over: one regular file in a tar, or a reason why it cannot be used."""

import io
import tarfile

import pytest

from adapters.docker_files import read_tar
from domain.errors import CannotRun, EngineDown

PATH = "/tally/result.json"


def tar(kind: bytes = tarfile.REGTYPE, data: bytes = b"") -> bytes:
    entry, archive = tarfile.TarInfo("result.json"), io.BytesIO()
    entry.type, entry.size, entry.linkname = kind, len(data), "/etc/passwd" if kind == tarfile.SYMTYPE else ""
    with tarfile.open(fileobj=archive, mode="w") as made:
        made.addfile(entry, io.BytesIO(data))
    return archive.getvalue()


def test_a_regular_file_is_read_whole() -> None:
    assert read_tar([tar(data=b"[1]")], PATH, 3) == b"[1]"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE])
def test_what_is_no_regular_file_is_no_result_and_is_not_followed(kind: bytes) -> None:
    with pytest.raises(CannotRun) as caught:
        read_tar([tar(kind)], PATH, 0)
    assert caught.value.code == "result-invalid"
    assert PATH in caught.value.detail


@pytest.mark.parametrize(("size", "sent"), [(65_537, b""), (0, bytes(100_000))])
def test_a_file_that_is_larger_than_allowed_or_than_it_says_is_not_read(size: int, sent: bytes) -> None:
    with pytest.raises(CannotRun) as caught:
        read_tar([tar(), sent], PATH, size)
    assert caught.value.code == "result-too-large"


@pytest.mark.parametrize("sent", [b"", tar(data=b"x" * 600)[:700], b"no tar" * 100])
def test_what_was_cut_off_is_asked_for_again(sent: bytes) -> None:
    with pytest.raises(EngineDown):
        read_tar([sent], PATH, 0)
