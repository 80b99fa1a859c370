from datetime import timedelta
from pathlib import Path

import pytest

from infra.setting_groups import MissingSetting
from infra.settings import ALIASES, env_name, fields, load
from infra.settings_page import PAGE, page


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*ALIASES, "TALLY_CONFIG", "TALLY_SECRETS_DIR", *(env_name(key) for key, _ in fields())]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_every_setting_is_documented() -> None:
    assert PAGE.read_text() == page(), "run: python -m infra.settings_page"


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load().api.port == 8080

    Path("tally.toml").write_text("[api]\nport = 1\n")
    assert load().api.port == 1

    monkeypatch.setenv("API_PORT", "2")
    assert load().api.port == 2

    monkeypatch.setenv("TALLY_API__PORT", "3")
    assert load().api.port == 3
    assert load({"api.port": 4}).api.port == 4


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_an_alias_is_its_setting(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    group, key = ALIASES[alias].split(".")
    value = {"log.level": "debug", "metrics.enabled": "false", "amqp.url": "amqp://2"}.get(ALIASES[alias], "2")
    monkeypatch.setenv(alias, value)

    by_alias = getattr(getattr(load(), group), key)

    monkeypatch.delenv(alias)
    monkeypatch.setenv(env_name(ALIASES[alias]), value)
    assert by_alias == getattr(getattr(load(), group), key)
    monkeypatch.delenv(env_name(ALIASES[alias]))
    assert by_alias != getattr(getattr(load(), group), key)


def test_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "db").write_text("postgresql://tally_app:pw@db/tally\n")
    monkeypatch.setenv("TALLY_DATABASE__URL_FILE", str(tmp_path / "db"))
    assert load().database.dsn() == "postgresql://tally_app:pw@db/tally"

    monkeypatch.delenv("TALLY_DATABASE__URL_FILE")
    (tmp_path / "tally_amqp__url").write_text("amqp://secret@broker")
    monkeypatch.setenv("TALLY_SECRETS_DIR", str(tmp_path))
    assert load().amqp.url.get_secret_value() == "amqp://secret@broker"


def test_a_channel_takes_its_secret_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ops").write_text("whsec_AAAA\n")
    monkeypatch.setenv("TALLY_NOTIFY__OPS__URL", "webhook+https://example.org/hook")
    monkeypatch.setenv("TALLY_NOTIFY__OPS__SECRET_FILE", str(tmp_path / "ops"))

    channel = load().notify.channels["ops"]

    assert channel.secret is not None
    assert channel.secret.get_secret_value() == "whsec_AAAA"


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_AMQP__URL", "amqp://u:hunter2@b")
    monkeypatch.setenv("TALLY_DATABASE__URL", "postgresql://u:hunter2@b/d")
    assert "hunter2" not in repr(load()) + str(load())

    monkeypatch.setenv("TALLY_API__PORT", "hunter2")
    with pytest.raises(MissingSetting) as caught:
        load()
    assert "hunter2" not in str(caught.value)
    assert "api.port" in str(caught.value)


def test_an_unknown_setting_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_API__PROT", "1")
    with pytest.raises(MissingSetting, match=r"api\.prot: no such setting"):
        load()


def test_a_group_that_does_not_exist_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_WORKERS__SLOTS", "8")
    with pytest.raises(MissingSetting, match="TALLY_WORKERS__SLOTS: no such setting"):
        load()


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("TALLY_CONFIG", "TALLY_CONFIG: .*/nowhere: no such file"),
        ("TALLY_AMQP__URL_FILE", "/nowhere: cannot be read as a secret"),
        ("TALLY_NOTIFY__OPS__SECRET_FILE", "/nowhere: cannot be read as a secret"),
    ],
)
def test_a_file_that_is_named_must_be_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, says: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "nowhere"))
    with pytest.raises(MissingSetting, match=says):
        load()


def test_a_file_that_is_no_toml_is_refused_by_name() -> None:
    Path("tally.toml").write_text("x = [")
    with pytest.raises(MissingSetting, match=r"tally\.toml: Invalid value"):
        load()


def test_a_list_that_is_no_json_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_COMMANDS__PRINCIPALS", "alice=analytics")
    with pytest.raises(MissingSetting, match=r"commands.*as JSON"):
        load()


@pytest.mark.parametrize("variable", ["TALLY_AMQP__URL", "TALLY_CLIENT__AMQP_URL", "TALLY_CLIENT__API_URL"])
def test_an_address_of_another_kind_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "ftp://user:hunter2@host")
    with pytest.raises(MissingSetting, match="an address that begins with") as caught:
        load()
    assert "hunter2" not in str(caught.value)


def test_levels_are_taken_as_loudly_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    assert load().log.level == "info"


def test_a_setting_that_is_needed_and_missing_says_how_to_give_it() -> None:
    with pytest.raises(MissingSetting, match="TALLY_DATABASE__URL"):
        load().database.dsn()
    with pytest.raises(MissingSetting, match="TALLY_AUTH__ISSUER"):
        load().auth.required_issuer()


def test_durations_and_sizes_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_WORKER__HEARTBEAT", "PT2S")
    monkeypatch.setenv("TALLY_LIMITS__MAX_BODY", "32KiB")
    assert load().worker.heartbeat == timedelta(seconds=2)
    assert load().limits.max_body == 32 * 1024

    monkeypatch.setenv("TALLY_WORKER__HEARTBEAT", "1.5")
    assert load().worker.heartbeat == timedelta(seconds=1.5)
