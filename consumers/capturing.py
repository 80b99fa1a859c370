"""One container's output, from its first byte to its last: counted, digested, and handed to the log shipper."""

import asyncio
from contextlib import aclosing
from hashlib import sha256

from consumers.shipping import LogShipper, Pause, Source
from domain.errors import EngineDown, EngineTimeout
from domain.ports.logkeeping import LogStream
from domain.ports.running import Containers, Found
from domain.reports import LogEnd

CAP = 10 << 20
"""Bytes of both streams together that are kept of a run."""
HELD_BACK = 256 << 10
"""Bytes of stderr kept for the digest, which wants them after the last of stdout; beyond, they are read again."""
RETRY_SECONDS = 1.0


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

    @property
    def size(self) -> int:
        """Bytes captured of both streams."""
        return sum(self._sizes.values())

    async def until_end(self) -> Found | None:
        """The container as it ended, None if it is gone. All its output up to the cap has been handed over then."""
        complete = False
        while True:
            try:
                if not complete:
                    await self._pass()
                    complete = True
                found = await self._containers.ended(self._id)
            except (EngineDown, EngineTimeout):
                await self._pause(RETRY_SECONDS)
                continue
            if found is None or found.state != "running":
                await self._close()
                return found

    async def end(self) -> LogEnd:
        """Bytes and digest of what was captured, once it has ended. Raises EngineDown, EngineTimeout."""
        digest = self._out.copy()
        digest.update(self._errors if len(self._errors) == self._sizes["stderr"] else await self._errors_again())
        return LogEnd(bytes=self.size, sha256=digest.hexdigest())

    async def _pass(self) -> None:
        """Read from the first byte; take what lies beyond what is known. Raises EngineDown, EngineTimeout."""
        seen: dict[LogStream, int] = {"stdout": 0, "stderr": 0}
        async with aclosing(self._containers.output(self._id)) as output:
            async for piece in output:
                known = self._sizes[piece.stream] - seen[piece.stream]
                seen[piece.stream] += len(piece.data)
                if new := piece.data[max(known, 0) :][: CAP - self.size]:
                    await self._take(piece.stream, new)
                elif self.size >= CAP:
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

    async def _errors_again(self) -> bytearray:
        data = bytearray()
        async with aclosing(self._containers.output(self._id)) as output:
            async for piece in output:
                if piece.stream == "stderr":
                    data += piece.data
                if len(data) >= self._sizes["stderr"]:
                    break
        return data[: self._sizes["stderr"]]
