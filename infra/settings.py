"""Settings: flag > environment > alias > secret file > `tally.toml` > default. Read once, when a process starts."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, Field, Secret, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from infra import setting_groups as groups

ALIASES = {
    "API_HOST": "api.host",
    "API_PORT": "api.port",
    "DATABASE_URL": "database.url",
    "RABBITMQ_URL": "amqp.url",
    "MAX_WORKERS": "worker.slots",
    "HEARTBEAT_INTERVAL": "worker.heartbeat",
    "LOG_LEVEL": "log.level",
    "METRICS_ENABLED": "metrics.enabled",
    "TALLY_IMAGE_BUSYBOX": "images.base",
}


class Settings(BaseSettings):
    """All settings of a process. Groups it does not use are never looked at."""

    model_config = SettingsConfigDict(
        env_prefix="TALLY_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        nested_model_default_partial_update=True,
    )

    amqp: groups.Amqp = Field(default_factory=groups.Amqp)
    database: groups.Database = Field(default_factory=groups.Database)
    api: groups.Api = Field(default_factory=groups.Api)
    auth: groups.Auth = Field(default_factory=groups.Auth)
    issuer: groups.Issuer = Field(default_factory=groups.Issuer)
    otel: groups.Otel = Field(default_factory=groups.Otel)
    log: groups.Log = Field(default_factory=groups.Log)
    commands: groups.Commands = Field(default_factory=groups.Commands)
    worker: groups.Worker = Field(default_factory=groups.Worker)
    limits: groups.Limits = Field(default_factory=groups.Limits)
    notify: groups.Notify = groups.Notify.model_validate({})
    logs: groups.Logs = Field(default_factory=groups.Logs)
    images: groups.Images = Field(default_factory=groups.Images)
    dev: groups.Dev = Field(default_factory=groups.Dev)
    metrics: groups.Metrics = Field(default_factory=groups.Metrics)
    rate: groups.Rate = Field(default_factory=groups.Rate)
    client: groups.Client = Field(default_factory=groups.Client)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            _Environment(settings_cls),
            _Given(settings_cls, _aliases(os.environ)),
            _Given(settings_cls, _secret_files(os.environ)),
            TomlConfigSettingsSource(settings_cls, _file(os.environ)),
        )


class _Environment(EnvSettingsSource):
    """The environment but for the names of files that hold secrets, which are not settings themselves."""

    def __call__(self) -> dict[str, Any]:
        return _without_files(super().__call__(), "", {key for key, _ in fields()})


class _Given(PydanticBaseSettingsSource):
    """Values found elsewhere, as nested dictionaries."""

    def __init__(self, settings_cls: type[BaseSettings], values: dict[str, Any]) -> None:
        super().__init__(settings_cls)
        self._values = values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._values


def load(flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force. `flags`: dotted key -> value, stronger than all else.

    Raises MissingSetting with one line for each setting that is wrong: its key, the problem, never the value.
    """
    if unknown := _unknown(os.environ):
        raise groups.MissingSetting("; ".join(f"{name}: no such setting" for name in unknown))
    nested: dict[str, Any] = {}
    for key, value in (flags or {}).items():
        _put(nested, key, value)
    try:
        return Settings(**nested)
    except ValidationError as invalid:
        raise groups.MissingSetting("; ".join(map(_said, invalid.errors(include_input=False)))) from None
    except (TOMLDecodeError, UnicodeDecodeError) as error:
        raise groups.MissingSetting(f"{_file(os.environ)}: {error}") from None
    except SettingsError as error:
        raise groups.MissingSetting(f"{error}: write lists and objects as JSON") from None


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """Every setting as (dotted key, field). A channel's keys stand under `notify.<channel>`."""
    for name, group in Settings.model_fields.items():
        model = group.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        for key, field in model.model_fields.items():
            yield f"{name}.{key}", field
    for key, field in groups.Channel.model_fields.items():
        yield f"notify.<channel>.{key}", field


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting may also come from a file, and is never shown."""
    kinds = (field.annotation, *get_args(field.annotation))
    return any(get_origin(kind) is Secret or kind is Secret for kind in kinds)


def env_name(key: str) -> str:
    """The environment variable of a dotted key."""
    return "TALLY_" + key.replace(".", "__").upper()


def _said(error: ErrorDetails) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{key}: no such setting; remove {env_name(key)}, or its line in tally.toml"
    return f"{key}: {error['msg']}; set {env_name(key)}"


def _file(environ: Mapping[str, str]) -> Path:
    """The file of settings, which need not be there unless it is named. Raises MissingSetting."""
    named = environ.get("TALLY_CONFIG")
    if named and not Path(named).is_file():
        raise groups.MissingSetting(f"TALLY_CONFIG: {named}: no such file")
    return Path(named or "tally.toml")


def _unknown(environ: Mapping[str, str]) -> list[str]:
    """Variables that are written like a setting, of a group that does not exist."""
    known = {f"TALLY_{group.upper()}" for group in Settings.model_fields}
    return [
        name
        for name in environ
        if name.startswith("TALLY_") and "__" in name and name.split("__")[0].upper() not in known
    ]


def _secret(path: Path) -> str:
    """What a file holds. Raises MissingSetting."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise groups.MissingSetting(f"{path}: cannot be read as a secret: {error}") from None


def _aliases(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, key in ALIASES.items():
        if name in environ:
            _put(values, key, environ[name])
    return values


def _secret_files(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    folder = environ.get("TALLY_SECRETS_DIR")
    for key, field in fields():
        if not is_secret(field) or "<" in key:
            continue
        named = environ.get(env_name(key) + "_FILE")
        file = Path(named) if named else Path(folder) / env_name(key).lower() if folder else None
        if file is not None and (named or file.is_file()):
            _put(values, key, _secret(file))
    for name, path in environ.items():
        if name.startswith("TALLY_NOTIFY__") and name.endswith(("__URL_FILE", "__SECRET_FILE")):
            key = name.removeprefix("TALLY_").removesuffix("_FILE").lower().replace("__", ".")
            _put(values, key, _secret(Path(path)))
    return values


def _without_files(values: dict[str, Any], path: str, known: set[str]) -> dict[str, Any]:
    return {
        key: _without_files(cast("dict[str, Any]", value), f"{path}{key}.", known) if isinstance(value, dict) else value
        for key, value in values.items()
        if f"{path}{key}" in known or not key.endswith("_file")
    }


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
    values[last] = value
