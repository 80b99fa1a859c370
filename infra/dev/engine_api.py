"""The few calls of the Docker Engine API that a stack needs before any library is there."""

import contextlib
import http.client
import json
import os
import socket
import urllib.parse
from collections.abc import Iterable
from typing import Any

from infra.dev.errors import CannotProvide

DEFAULT_HOST = "unix:///var/run/docker.sock"
API = "/v1.41"
INSTALLATION = "tally.installation"  # label that workers give their containers
Body = bytes | Iterable[bytes] | None


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def connection(host: str, timeout: float) -> http.client.HTTPConnection:
    """To a `unix://` or `tcp://` (or `http://`) engine. Raises ValueError for any other address."""
    parts = urllib.parse.urlsplit(host)
    if parts.scheme == "unix":
        return SocketConnection(parts.path, timeout)
    if parts.scheme in ("tcp", "http") and parts.hostname and "DOCKER_TLS_VERIFY" not in os.environ:
        return http.client.HTTPConnection(parts.hostname, parts.port or 2375, timeout=timeout)
    raise ValueError(host)


def call(host: str, method: str, path: str, body: Body = None, timeout: float = 60) -> tuple[int, Any]:
    """One request; returns the status and the decoded JSON answer, or its text where it is none."""
    open_connection = connection(host, timeout)
    try:
        headers = {"Content-Type": "application/x-tar"} if body is not None else {}
        with contextlib.suppress(BrokenPipeError):  # refused half-way: the answer says why
            open_connection.request(method, f"{API}{path}", body=body, headers=headers)
        answer = open_connection.getresponse()
        text = answer.read().decode(errors="replace")
    finally:
        open_connection.close()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text


def answers(host: str) -> bool:
    """Whether an engine at `host` says so within five seconds."""
    try:
        return call(host, "GET", "/_ping", timeout=5)[0] == 200
    except (OSError, ValueError, http.client.HTTPException):
        return False


def reachable() -> str | None:
    """The address of an engine that this machine already has: DOCKER_HOST, else the default socket."""
    named = os.environ.get("DOCKER_HOST")
    if named and not answers(named):
        raise CannotProvide(
            "container engine", f"DOCKER_HOST={named} does not answer", "Start it, or unset DOCKER_HOST."
        )
    return named or (DEFAULT_HOST if answers(DEFAULT_HOST) else None)


def has_image(host: str, name: str, label: str = "") -> bool:
    """Whether the engine holds image `name`, and that with `label` (`key=value`) if one is given."""
    status, image = call(host, "GET", f"/images/{name}/json")
    if status != 200 or not label:
        return status == 200
    labels: dict[str, str] = image["Config"]["Labels"] or {}
    key, _, value = label.partition("=")
    return labels.get(key) == value


def import_image(host: str, name: str, tar: bytes, changes: Iterable[str] = ()) -> None:
    """Make image `name` (`repo:tag`) from a file system; `changes` are Dockerfile lines such as CMD."""
    repo, _, tag = name.rpartition(":")
    options = [("fromSrc", "-"), ("repo", repo), ("tag", tag), *(("changes", line) for line in changes)]
    status, answer = call(host, "POST", f"/images/create?{urllib.parse.urlencode(options)}", tar)
    if status != 200 or "errorDetail" in str(answer):
        raise CannotProvide(name, f"the engine refused the image: {answer}", "See the engine's log.")


def remove_image(host: str, name: str) -> None:
    call(host, "DELETE", f"/images/{name}?force=true")


def installations(host: str) -> set[str]:
    """The installations of Tallyport that have containers on this engine."""
    filters = urllib.parse.quote(json.dumps({"label": [INSTALLATION]}))
    containers: list[dict[str, dict[str, str]]] = call(host, "GET", f"/containers/json?all=true&filters={filters}")[1]
    return {container["Labels"][INSTALLATION] for container in containers}


def remove_new_installations(host: str, before: set[str]) -> None:
    """Remove the containers of installations that were not there `before`."""
    for installation in installations(host) - before:
        remove_labelled(host, f"{INSTALLATION}={installation}")


def remove_labelled(host: str, label: str) -> None:
    """Remove every container, network and volume that carries `label` (`key` or `key=value`)."""
    filters = urllib.parse.quote(json.dumps({"label": [label]}))
    for container in call(host, "GET", f"/containers/json?all=true&filters={filters}")[1]:
        call(host, "DELETE", f"/containers/{container['Id']}?force=true&v=true")
    for network in call(host, "GET", f"/networks?filters={filters}")[1]:
        call(host, "DELETE", f"/networks/{network['Id']}")
    for volume in call(host, "GET", f"/volumes?filters={filters}")[1].get("Volumes") or ():
        call(host, "DELETE", f"/volumes/{volume['Name']}?force=true")


def remove_all_containers(host: str) -> None:
    """For private engines only."""
    for container in call(host, "GET", "/containers/json?all=true")[1]:
        call(host, "DELETE", f"/containers/{container['Id']}?force=true&v=true")
