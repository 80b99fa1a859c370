"""Every setting, by group. A process reads only the groups it needs, so nothing is required until it is asked for."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Secret, field_validator

from domain.errors import TallyportError

UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class MissingSetting(TallyportError):
    """A process needs a setting that nobody gave."""


def _bytes(value: Any) -> Any:
    if isinstance(value, str):
        for unit, factor in UNITS.items():
            if value.endswith(unit) and value[: -len(unit)].isdigit():
                return int(value[: -len(unit)]) * factor
    return value


def _seconds(value: Any) -> Any:
    return float(value) if isinstance(value, str) and value.replace(".", "", 1).isdigit() else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _scheme(url: str, *schemes: str) -> None:
    """Raises ValueError, without the address: it may hold a password."""
    if urlsplit(url).scheme not in schemes:
        raise ValueError(f"an address that begins with {' or '.join(f'{one}://' for one in schemes)} is needed")


Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=1)]
Duration = Annotated[timedelta, BeforeValidator(_seconds)]
Url = Secret[str]
End = Literal[
    "task.succeeded.v1",
    "task.failed.v1",
    "task.cancelled.v1",
    "task.skipped.v1",
    "task.expired.v1",
    "task.quarantined.v1",
]
ENDS: tuple[End, ...] = get_args(End)
Port = Annotated[int, Field(ge=0, le=65_535)]


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Amqp(Group):
    url: Url = Field(default=Secret("amqp://localhost"), description="The broker, with user, password and virtual host")
    prefetch: int = Field(default=200, ge=1, le=2000, description="Messages in flight to one consumer")

    @field_validator("url")
    @classmethod
    def _amqp(cls, url: Url) -> Url:
        _scheme(url.get_secret_value(), "amqp", "amqps")
        return url


class Database(Group):
    url: Url | None = Field(default=None, description="PostgreSQL 15 or newer, as role `tally_app`")
    owner_url: Url | None = Field(default=None, description="The same, as a role that may migrate; left out: `url`")
    read_url: Url | None = Field(default=None, description="The same, as role `tally_read`; left out: `url`")
    pool_max: int = Field(default=10, ge=1, le=500, description="Connections of one process, at most")
    allow_unsafe: bool = Field(default=False, description="Accept a server that may lose commits: tests only")

    def dsn(self, role: Literal["app", "owner", "read"] = "app") -> str:
        """The address to connect to as this role. Raises MissingSetting."""
        url = {"app": None, "owner": self.owner_url, "read": self.read_url}[role] or self.url
        if url is None:
            raise MissingSetting(
                "database.url is not set: give TALLY_DATABASE__URL, for example postgresql://tally_app@localhost/tally"
            )
        return url.get_secret_value()


class Api(Group):
    host: str = Field(default="127.0.0.1", description="Address to listen on")
    port: Port = Field(default=8080, description="Port to listen on; 0: any free one")
    commands: bool = Field(default=False, description="Take commands by `POST /v1/commands` and `POST /v1/tasks`")
    public_url: str | None = Field(default=None, description="The address that clients use")


class Auth(Group):
    issuer: str | None = Field(
        default=None, description="Whose tokens are taken: exactly their `iss`; its keys are found there"
    )
    audience: str = Field(default="tallyport", description="What a token's `aud` must name")
    profile: Literal["rfc9068", "keycloak", "auth0", "entra", "custom"] = Field(
        default="rfc9068", description="How this issuer writes scopes and client ids"
    )
    leeway: Duration = Field(
        default=timedelta(seconds=30), ge=timedelta(0), le=timedelta(minutes=2), description="Clock difference allowed"
    )
    algorithms: tuple[Literal["RS256", "PS256", "ES256", "EdDSA"], ...] = Field(
        default=("RS256", "PS256", "ES256", "EdDSA"), description="Signatures allowed"
    )
    scope_claim: str = Field(default="scope", description="Profile `custom`: the claim that lists scopes")
    client_claim: str = Field(default="client_id", description="Profile `custom`: the claim that names the client")

    def required_issuer(self) -> str:
        """The issuer. Raises MissingSetting: the API never runs without one."""
        if self.issuer is None:
            raise MissingSetting("auth.issuer is not set: give TALLY_AUTH__ISSUER, the `iss` of the tokens to accept")
        return self.issuer


class Issuer(Group):
    host: str = Field(default="127.0.0.1", description="Address the development issuer listens on")
    port: Port = Field(default=8081, description="Its port; 0: any free one")
    folder: Path = Field(default=Path(".tally/issuer"), description="Its keys and client secrets")
    public_url: str | None = Field(default=None, description="Its `iss`; left out: `http://<host>:<port>`")


class Otel(Group):
    endpoint: str | None = Field(default=None, description="OTLP http/protobuf, `http://localhost:4318`; none: off")
    sample: float = Field(default=0.1, ge=0, le=1, description="Share of new traces kept; callers decide for theirs")


class Log(Group):
    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info", description="Least severity written"
    )
    format: Literal["json", "console"] | None = Field(
        default=None, description="Left out: `console` on a terminal, else `json`"
    )


class Commands(Group):
    identity: Literal["required", "optional"] = Field(
        default="required", description="`optional`: an unidentified sender is `anonymous`, in namespace `default` only"
    )
    principals: dict[str, tuple[str, ...]] = Field(
        default_factory=dict[str, tuple[str, ...]], description="Broker user to the namespaces it may use; `*`: all"
    )
    trusted_publishers: tuple[str, ...] = Field(default=(), description="Broker users whose `ce-authid` is believed")


class Worker(Group):
    id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$",
        description="Its lasting name; left out: the host's",
    )
    slots: int = Field(default=4, ge=1, le=1000, description="Runs at once")
    pool: str = Field(default="default", description="Work it serves")
    labels: dict[str, str] = Field(default_factory=dict[str, str], description="Shown with the worker")
    heartbeat: Duration = Field(
        default=timedelta(seconds=3), ge=timedelta(seconds=0.1), le=timedelta(seconds=5), description="Beat interval"
    )
    engine: str | None = Field(default=None, description="`unix:///run/docker.sock`; left out: the one found")
    folder: Path = Field(default=Path(".tally/worker"), description="Where it keeps reports that are not committed yet")
    allow_images: tuple[str, ...] = Field(default=("*",), description="Image name patterns it runs")
    allow_networks: tuple[str, ...] = Field(default=(), description="Networks a task may name besides `none`")


class Limits(Group):
    max_body: Bytes = Field(default=64 << 10, description="Largest command, in bytes or KiB, MiB")
    max_workflow: Bytes = Field(default=1 << 20, description="Largest command of many tasks")


class Channel(Group):
    url: Url = Field(description="`webhook+https://…`")
    on: tuple[End, ...] = Field(default=ENDS, description="Which ends of tasks it is told of")
    secret: Secret[str] | None = Field(default=None, description="Signs its webhooks (`whsec_…`)")


class Notify(Group):
    """Channels are keys of their own: `notify.ops.url` makes channel `ops`."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)
    __pydantic_extra__: dict[str, Channel]  # pyright: ignore[reportIncompatibleVariableOverride]

    allow_private: bool = Field(default=False, description="Allow loopback and private addresses and plain http")

    @property
    def channels(self) -> dict[str, Channel]:
        return dict(self.__pydantic_extra__)


class Logs(Group):
    folder: Path = Field(default=Path(".tally/logs"), description="Where the log keeper stores what runs print")


class Images(Group):
    base: str = Field(default="busybox:1.36", description="Image of the built-in task types (`TALLY_IMAGE_BUSYBOX`)")


class Dev(Group):
    folder: Path = Field(default=Path(".dev/tally"), description="Data and `dev.json` of `tally dev`")


class Metrics(Group):
    enabled: bool = Field(default=True, description="Serve `/metrics` for Prometheus")
    host: str = Field(default="127.0.0.1", description="Address of `/metrics`")
    port: Port = Field(default=9464, description="Port of `/metrics`")


class Rate(Group):
    reads: int = Field(default=100, ge=1, description="Requests a second of one principal")
    streams_per_user: int = Field(default=5, ge=1, description="Open feeds and followed logs of one principal")


class Client(Group):
    api_url: str | None = Field(default=None, description="Where the CLI asks; left out: from `dev.json`")
    amqp_url: Url | None = Field(default=None, description="Where the CLI publishes; left out: by POST")
    token_file: Path | None = Field(default=None, description="A file that holds a bearer token")

    @field_validator("api_url")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is not None:
            _scheme(url, "http", "https")
        return url

    @field_validator("amqp_url")
    @classmethod
    def _amqp(cls, url: Url | None) -> Url | None:
        if url is not None:
            _scheme(url.get_secret_value(), "amqp", "amqps")
        return url
