"""One container's output, from its first byte to its last: counted, digested, and handed to the log shipper."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from hashlib import sha256

from consumers.shipping import LogShipper, Pause, Source
from consumers.starting import RETRY_SECONDS, insistently
from domain.errors import EngineDown, EngineTimeout
from domain.ports.logkeeping import LogStream
from domain.ports.running import Containers, Found
from domain.reports import LogEnd

CAP = 10 << 20
"""Bytes of both streams together that are kept of a run."""
HELD_BACK = 256 << 10
"""Bytes of stderr kept for the digest, which wants them after the last of stdout; beyond, they are read again."""
PATIENCE = 10
"""Tries, a second apart, before output of a container that has ended counts as lost."""

log = logging.getLogger(__name__)


class Capture:
    """Follows a container until it has ended, across losses of the engine; bytes seen before are not shipped again.

    Read is the engine's own log, which begins with the container: a stream attached to it would lose what was printed
    between two processes of this worker, and hold up the task whenever the broker is slow.
    """

    def __init__(
        self, containers: Containers, shipper: LogShipper, source: Source, id: str, pause: Pause = asyncio.sleep
    ) -> None:
        self._pause = pause
        self._containers, self._shipper, self._source, self._id = containers, shipper, source, id
        self._sizes: dict[LogStream, int] = {"stdout": 0, "stderr": 0}
        self._out, self._errors = sha256(), bytearray()
        self._truncated = False

    @property
    def size(self) -> int:
        """Bytes captured of both streams."""
        return sum(self._sizes.values())

    async def until_end(self) -> Found | None:
        """The container as it ended, None if it is gone. All its output up to the cap has been handed over then."""
        if not await self._readable(self._pass):
            self._truncated = True
        while (found := await insistently(lambda: self._containers.ended(self._id), self._pause)) is not None:
            if found.state != "running":
                break
        await self._close()
        return found

    async def end(self) -> LogEnd | None:
        """Bytes and digest of what was captured, once it has ended. None: they cannot be told any more."""
        if len(self._errors) < self._sizes["stderr"] and not await self._readable(self._read_errors_again):
            return None
        digest = self._out.copy()
        digest.update(self._errors)
        return LogEnd(bytes=self.size, sha256=digest.hexdigest(), truncated=self._truncated or None)

    async def _readable(self, read: Callable[[], Awaitable[None]]) -> bool:
        """Read to the end, again after each failure. False: the container has ended, and its output is lost."""
        failures = 0
        while True:
            try:
                await read()
            except (EngineDown, EngineTimeout) as error:
                log.warning("container %s: %s", self._id[:12], error)
            else:
                return True
            await self._pause(RETRY_SECONDS)
            found = await insistently(lambda: self._containers.inspect(self._id), self._pause)
            failures += found is not None and found.state != "running"
            if found is None or failures == PATIENCE:
                return False

    async def _pass(self) -> None:
        """Read from the first byte; take what lies beyond what is known. Raises EngineDown, EngineTimeout."""
        seen: dict[LogStream, int] = {"stdout": 0, "stderr": 0}
        async with aclosing(self._containers.output(self._id)) as output:
            async for piece in output:
                known = self._sizes[piece.stream] - seen[piece.stream]
                seen[piece.stream] += len(piece.data)
                new = piece.data[max(known, 0) :]
                if kept := new[: CAP - self.size]:
                    await self._take(piece.stream, kept)
                if len(kept) < len(new):
                    self._truncated = True
                    return

    async def _take(self, stream: LogStream, data: bytes) -> None:
        offset = self._sizes[stream]
        self._sizes[stream] += len(data)
        if stream == "stdout":
            self._out.update(data)
        elif offset == len(self._errors) < HELD_BACK:
            self._errors += data
        await self._shipper.put(self._source, stream, offset, data)

    async def _close(self) -> None:
        for stream, size in self._sizes.items():
            if size:
                await self._shipper.put(self._source, stream, size, b"", last=True)

    async def _read_errors_again(self) -> None:
        """Have all of stderr at hand. Raises EngineDown, EngineTimeout."""
        data, wanted = bytearray(), self._sizes["stderr"]
        async with aclosing(self._containers.output(self._id)) as output:
            async for piece in output:
                if piece.stream == "stderr":
                    data += piece.data
                if len(data) >= wanted:
                    break
        if len(data) < wanted:
            raise EngineDown(f"output: {wanted - len(data)} bytes of it are gone")
        self._errors = data[:wanted]
