"""A client bound to a running platform: settings first, then a running `tally dev`, then who is logged in."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from domain.errors import Unavailable
from infra import login
from infra.dev_file import running_in
from infra.settings import Settings, load

if TYPE_CHECKING:
    from api.client import Client
    from domain.ports.credentials import Bearer


@dataclass(frozen=True, slots=True)
class Target:
    """Which platform, and how its user shows who he is. `origin` says where that was found."""

    origin: str
    api_url: str
    amqp_url: str | None = None
    user: login.Login | None = None
    token_file: Path | None = None
    cache: Path | None = None

    def bearer(self) -> "Bearer":
        """Where the token comes from."""
        from adapters.credentials import NoToken, TokenFile

        if self.token_file is not None:
            return TokenFile(self.token_file)
        return NoToken() if self.user is None else bearer_of(self.user, self.cache)


def bearer_of(user: login.Login, cache: Path | None, scope: str | None = None) -> "Bearer":
    """Tokens of this client, kept in `cache` between programs."""
    from adapters.credentials import ClientCredentials

    return ClientCredentials(user.issuer_url, user.client_id, user.client_secret, cache, scope)


def target(settings: Settings) -> Target:
    """The platform to talk to. Raises Unavailable when there is none."""
    wanted = settings.client
    found = _dev(settings.dev.folder) or _saved()
    if wanted.api_url is not None:
        user = found.user if found is not None and found.api_url == wanted.api_url else None
        found = Target("settings", wanted.api_url, user=user, cache=found.cache if found else None)
    if found is None:
        raise Unavailable(
            f"no platform to talk to: start `tally dev` (none runs in {settings.dev.folder}), `tally login`, "
            "or set TALLY_CLIENT__API_URL and TALLY_CLIENT__TOKEN_FILE"
        )
    amqp_url = found.amqp_url if wanted.amqp_url is None else wanted.amqp_url.get_secret_value()
    return replace(found, amqp_url=amqp_url, token_file=wanted.token_file or found.token_file)


@asynccontextmanager
async def connect(
    namespace: str | None = None, api_url: str | None = None, amqp_url: str | None = None
) -> AsyncGenerator["Client"]:
    """A client, with addresses from `TALLY_CLIENT__…` unless they are given. Sends nothing. Raises Unavailable."""
    flags = {"client.api_url": api_url, "client.amqp_url": amqp_url}
    settings = load({key: value for key, value in flags.items() if value is not None})
    async with client_of(settings, target(settings), namespace or "default") as client:
        yield client


@asynccontextmanager
async def client_of(settings: Settings, where: Target, namespace: str) -> AsyncGenerator["Client"]:
    """A client of `where`: commands over AMQP if it has an address for that, else by POST; reads over HTTP."""
    from uuid_utils.compat import uuid7

    from adapters.api_session import open_api
    from adapters.platform_http import HttpPlatform
    from api.client import Client
    from infra.telemetry import tracing

    with tracing(settings.otel, "client") as traces:
        async with open_api(where.api_url, where.bearer()) as api:
            platform = HttpPlatform(api)
            if where.amqp_url is None:
                yield Client(platform, platform, uuid7, traces, namespace)
                return
            from adapters.platform_amqp import AmqpSending

            sending = AmqpSending(where.amqp_url)
            try:
                yield Client(sending, platform, uuid7, traces, namespace)
            finally:
                await sending.close()


def _dev(folder: Path) -> Target | None:
    dev = running_in(folder)
    if dev is None:
        return None
    user = login.Login(dev.api_url, dev.issuer_url, dev.client_id, dev.client_secret)
    return Target(f"tally dev in {folder}", dev.api_url, dev.amqp_url, user, cache=folder / "token.json")


def _saved() -> Target | None:
    user = login.saved()
    if user is None:
        return None
    return Target("tally login", user.api_url, user.amqp_url, user, cache=login.folder() / "token.json")
