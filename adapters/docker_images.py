"""Images of a Docker engine: seen to be there, or fetched."""

import asyncio
import time
from datetime import timedelta
from typing import Any

from docker.errors import NotFound

from adapters.docker_config import Policy
from adapters.docker_errors import EngineErrors
from adapters.threads import Threads
from domain.errors import CannotRun, EngineTimeout

KNOWN_SECONDS = 10.0
PULLS = 4
PULL = {404: "image-not-found", 429: "pull-rate-limited"}


class DockerImages:
    """Looks once for many runs of one image: what was seen counts for 10 s, or until a run says otherwise."""

    def __init__(self, client: Any, errors: EngineErrors, policy: Policy) -> None:
        self._client, self._errors, self._policy = client, errors, policy
        self._looks, self._pulls = Threads(2, "engine image"), Threads(PULLS, "engine pull")
        self._known: dict[str, tuple[str | None, float]] = {}
        self._one: dict[str, asyncio.Lock] = {}

    async def ensure(self, image: str, within: timedelta) -> str | None:
        """As `Containers.ensure_image`."""
        self._policy.check_image(image)
        digest, until = self._known.get(image, (None, 0.0))
        if time.monotonic() < until:
            return digest
        try:
            async with asyncio.timeout(within.total_seconds()), self._one.setdefault(image, asyncio.Lock()):
                return await self._look_or_pull(image)
        except TimeoutError as error:
            raise CannotRun("pull-failed", f"image {image}: not there after {within.total_seconds():g} s") from error

    def forget(self, image: str) -> None:
        """An image was not there after all."""
        self._known.pop(image, None)

    async def _look_or_pull(self, image: str) -> str | None:
        found = await self._looks.call(self._look, image)
        if found is None:
            await self._pulls.call(self._pull, image)
            found = await self._looks.call(self._look, image)
        if found is None:
            raise CannotRun("pull-failed", f"image {image}: fetched, and still not there")
        self._known[image] = (digest_of(found), time.monotonic() + KNOWN_SECONDS)
        return digest_of(found)

    def _look(self, image: str) -> dict[str, Any] | None:
        with self._errors.of(f"look for image {image}", {400: "image-not-found"}):
            try:
                found: dict[str, Any] = self._client.inspect_image(image)
                return found
            except NotFound:
                return None

    def _pull(self, image: str) -> None:
        call = f"pull {image}"
        try:
            with self._errors.of(call, PULL, "pull-failed"):
                for line in self._client.pull(image, stream=True, decode=True):
                    if detail := line.get("errorDetail"):
                        raise self._errors.refusal(call, detail.get("code"), detail.get("message"), PULL, "pull-failed")
        except EngineTimeout as error:
            raise CannotRun("pull-failed", str(error)) from error


def digest_of(image: dict[str, Any]) -> str | None:
    """The digest under which a registry has it, else the image's own id."""
    for name in image.get("RepoDigests") or ():
        return str(name).rpartition("@")[2]
    return image.get("Id")
