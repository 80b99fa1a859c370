"""Webhooks as Standard Webhooks has them, to addresses that are checked before anything is connected to.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import asyncio
import re
import socket
import ssl
from base64 import b64decode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx2
from standardwebhooks import Webhook as Signature

from adapters.threads import Threads
from domain.notifying import Notification, Tried
from domain.ports.log import Clock

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 10.0
NAMES_AT_ONCE = 4
MAX_URL = 2048
NAT64 = IPv6Network("64:ff9b::/96")
UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that is given out for the public internet."""

_URL = re.compile(
    r"webhook\+(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][!-\"$-\[\]^-~]*)?"
)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class BadUrl(ValueError):
    """A webhook's address cannot be used; says why, and what can."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook goes. `host` without brackets; `path` with its query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def netloc(self) -> str:
        """The host as the Host header names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


def parse(url: str, allow_private: bool) -> Target:
    """The target of `webhook+https://host/path`; other ports, and plain http, only with `allow_private`.

    Raises BadUrl. The address itself is never in the message: it may hold a secret.
    """
    match = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if match is None:
        raise BadUrl("bad-url: not of the form webhook+https://host/path, without user, fragment or blanks")
    scheme, port = match["scheme"], int(match["port"] or (443 if match["scheme"] == "https" else 80))
    if not allow_private and (scheme, port) != ("https", 443):
        raise BadUrl("bad-url: only https on port 443; for tests set notify.allow_private")
    if not 0 < port < 65_536:
        raise BadUrl(f"bad-url: port {port} does not exist")
    path = match["target"] or "/"
    return Target(scheme, match["host"].strip("[]"), port, path if path.startswith("/") else f"/{path}")


def is_public(address: str) -> bool:
    """Whether an address, and the IPv4 address inside it if there is one, belongs to the public internet."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        translated = ip.ipv4_mapped or (_last_four(ip) if ip in NAT64 else None)
        if translated is not None:
            return is_public(str(translated))
        tunnelled = ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip not in UNICAST or (tunnelled is not None and not is_public(str(tunnelled))):
            return False
    return ip.is_global and not ip.is_multicast


def _last_four(ip: IPv6Address) -> IPv4Address:
    return IPv4Address(int(ip) & 0xFFFFFFFF)


class Names:
    """Finds the addresses of hosts as the operating system does, in threads of its own: it may take long."""

    def __init__(self) -> None:
        self._threads = Threads(NAMES_AT_ONCE, "webhook name")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """All addresses. Raises OSError."""
        try:
            found = await self._threads.call(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise OSError("no such host: its name has a part that is empty or too long") from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def can_sign(secret: str) -> bool:
    """Whether `secret` is base64, after `whsec_` or alone."""
    try:
        return bool(b64decode(secret.removeprefix("whsec_"), validate=True))
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """Posts each notification, signed with `secret` (`whsec_…`), to one address."""

    url: str
    secret: str
    client: httpx2.AsyncClient
    clock: Clock
    allow_private: bool = False
    resolve: Resolve = field(default_factory=Names)

    async def send(self, notification: Notification) -> Tried:
        """Try once, for at most 10 s. The answer counts by its status; redirects are not followed."""
        try:
            target = parse(self.url, self.allow_private)
            async with asyncio.timeout(TOTAL_SECONDS):
                addresses = await self.resolve(target.host, target.port)
                if not self.allow_private and not all(map(is_public, addresses)):
                    return Tried("blocked-address: the host has an address that is not public", final=True)
                status = await self._post(target, addresses[0], notification)
        except BadUrl as bad:
            return Tried(str(bad), final=True)
        except TimeoutError:
            return Tried(f"no answer within {TOTAL_SECONDS:g} s")
        except (httpx2.HTTPError, OSError) as error:
            return Tried(f"{type(error).__name__}: {error}"[:200])
        return Tried() if 200 <= status < 300 else Tried(f"answered {status}")

    async def _post(self, target: Target, address: str, notification: Notification) -> int:
        body = payload(notification)
        host = f"[{address}]" if ":" in address else address
        request = self.client.build_request(
            "POST",
            f"{target.scheme}://{host}:{target.port}{target.path}",
            content=body,
            headers={"host": target.netloc, "content-type": "application/json", **self._signed(notification, body)},
            extensions={"sni_hostname": target.host},
        )
        answer = await self.client.send(request, stream=True, follow_redirects=False)
        await answer.aclose()  # nothing more is wanted of it
        return answer.status_code

    def _signed(self, notification: Notification, body: bytes) -> dict[str, str]:
        event_id, now = str(notification.event.event_id), self.clock.now()
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Signature(self.secret).sign(event_id, now, body.decode()),
        }


def http_client(trust: ssl.SSLContext | None = None) -> httpx2.AsyncClient:
    """What webhooks go out through: no proxy, no environment, no connection kept for the next.

    `trust` None: the certificate authorities that everybody trusts.
    """
    return httpx2.AsyncClient(
        verify=trust or True,
        timeout=httpx2.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx2.Limits(max_keepalive_connections=0),
        headers={"user-agent": "tallyport", "accept": "*/*"},
        trust_env=False,
        follow_redirects=False,
    )


def payload(notification: Notification) -> bytes:
    """The same bytes on every try: the event's type and time, and its body as it is stored."""
    event = notification.event
    at = event.recorded_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return b'{"type":"%b","timestamp":"%b","data":%b}' % (event.type.encode(), at.encode(), event.body)
