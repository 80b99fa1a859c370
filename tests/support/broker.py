"""Virtual hosts for tests, through RabbitMQ's management API."""

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.dev.broker_users import CLIENT, PERMISSIONS, PLATFORM, WORKER


@dataclass(frozen=True, slots=True)
class Management:
    """The management API at `url`, which carries an administrator's name and password."""

    url: str

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One request below /api; the decoded answer, None where there is none.

        Raises urllib.error.HTTPError for every status from 400.
        """
        parts = urllib.parse.urlsplit(self.url)
        request = urllib.request.Request(
            f"http://{parts.hostname}:{parts.port}/api{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json", "Authorization": f"Basic {basic(parts)}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def add_vhost(self, name: str) -> None:
        """Make a virtual host in which every account has its usual permissions."""
        self.call("PUT", f"/vhosts/{name}", {})
        for user, allowed in PERMISSIONS.items():
            self.call(
                "PUT",
                f"/permissions/{name}/{user}",
                {"configure": allowed.configure, "write": allowed.write, "read": allowed.read},
            )

    def delete_vhost(self, name: str) -> None:
        try:
            self.call("DELETE", f"/vhosts/{name}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise


@dataclass(frozen=True, slots=True)
class Vhost:
    """One virtual host and the AMQP URL of each account in it."""

    name: str
    platform: str
    worker: str
    client: str


def vhost_urls(name: str, urls: Mapping[str, str]) -> Vhost:
    """`urls` with their virtual host replaced by `name`."""
    moved = {
        user: urllib.parse.urlunsplit(urllib.parse.urlsplit(url)._replace(path=f"/{name}"))
        for user, url in urls.items()
    }
    return Vhost(name, moved[PLATFORM], moved[WORKER], moved[CLIENT])


def basic(parts: urllib.parse.SplitResult) -> str:
    return base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
