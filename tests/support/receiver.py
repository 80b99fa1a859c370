"""A webhook receiver that does what it is told: answers, hangs, resets, redirects. It keeps every request."""

import asyncio
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived. Header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """`does`: for each request in turn a status, "hang", "drip", "reset" or bytes to answer with; 204 when used up."""

    does: list[int | str | bytes]
    port: int = 0
    connections: int = 0
    requests: list[Request] = field(default_factory=list[Request])
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_for(self, count: int, seconds: float = 20) -> Sequence[Request]:
        """The requests, once there are `count`."""
        async with asyncio.timeout(seconds), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            request = await _read(reader)
            does = self.does.pop(0) if self.does else 204
            async with self.arrived:
                self.requests.append(request)
                self.arrived.notify_all()
            await self._answer(does, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, does: int | str | bytes, writer: asyncio.StreamWriter) -> None:
        if does == "hang":
            await self.released.wait()
        elif does == "drip":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx")
            await writer.drain()
            await self.released.wait()
        elif does == "reset":
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        elif isinstance(does, bytes):
            writer.write(does)
            await writer.drain()
        else:
            more = "location: http://127.0.0.1:1/\r\n" if str(does).startswith("3") else ""
            writer.write(f"HTTP/1.1 {does} X\r\n{more}content-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()


@asynccontextmanager
async def receiving(*does: int | str | bytes) -> AsyncGenerator[Receiver]:
    """A receiver on a free port of 127.0.0.1."""
    receiver = Receiver(list(does))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(first.split(" ")[1], headers, body)
