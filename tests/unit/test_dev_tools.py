"""The small decisions of the development stack."""

import json
from pathlib import Path

import pytest

from infra.dev import broker_users, engine_api, footprint, venv
from infra.dev.errors import CannotProvide, DevError
from tests.support.stack import External, Native, choose


def test_the_one_requirement_taken_from_a_lock_has_its_hashes_and_no_others() -> None:
    wanted = "uv==0.13.8 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
    lock = f"urllib3==2.8.0 \\\n    --hash=sha256:aa\n{wanted}uvicorn==1 \\\n    --hash=sha256:dd\n"

    assert venv.lines_of("uv", lock) == wanted


def test_a_tool_that_the_lock_lacks_is_named() -> None:
    with pytest.raises(DevError, match="uv is not in the lock"):
        venv.lines_of("uv", "urllib3==2.8.0 \\\n")


def test_passwords_are_made_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "passwords.json"

    first, second = broker_users.passwords(file), broker_users.passwords(file)

    assert first == second
    assert set(first) == set(broker_users.NAMES)
    assert file.stat().st_mode & 0o077 == 0


def test_definitions_hold_no_password_in_clear_and_no_guest() -> None:
    passwords: dict[str, str] = dict.fromkeys(broker_users.NAMES, "s3cret-enough")

    written = json.dumps(broker_users.definitions(passwords, "tally"))

    assert "s3cret-enough" not in written
    assert "guest" not in written


def test_an_engine_that_is_named_and_does_not_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")

    with pytest.raises(CannotProvide) as caught:
        engine_api.reachable()

    assert caught.value.way_out == "Start it, or unset DOCKER_HOST."


def test_a_footprint_names_the_file_that_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "SYSTEM", ())
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / "old").touch()
    before = set(footprint.files(tmp_path))

    (tmp_path / "new").touch()

    assert set(footprint.files(tmp_path)) - before == {str(tmp_path / "new")}


def test_the_switch_takes_the_stack_of_a_named_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "stack.json"
    file.write_text(json.dumps({"postgres_url": "postgresql://postgres@db/postgres"}))
    monkeypatch.setenv("TALLY_STACK_FILE", str(file))

    assert isinstance(choose("auto")[0], External)
    assert isinstance(choose("native")[0], Native)


def test_the_switch_refuses_a_value_that_it_does_not_know() -> None:
    with pytest.raises(CannotProvide, match="Use external, containers, native or auto"):
        choose("podman")


@pytest.mark.parametrize(
    ("kind", "one", "is_ours"),
    [
        ("files", str(Path.home() / ".cache" / "thing"), True),
        ("files", "/tmp/tally-1a2b", True),
        ("files", "/tmp/pytest-of-root/pytest-0", True),
        ("files", "/tmp/somebody-elses", False),
        ("files", "/etc/docker/key.json", True),
        ("links", "veth12ab", True),
        ("links", "eth1", False),
        ("processes", "1 10 /sbin/init", False),
        ("control groups", "/sys/fs/cgroup/cpu/tally-1a2b", True),
        ("iptables", "-A FORWARD -j DROP", True),
    ],
)
def test_what_a_run_left_is_told_from_what_others_brought(kind: str, one: str, is_ours: bool) -> None:
    assert footprint.ours(kind, one) is is_ours
