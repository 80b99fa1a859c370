"""A container's output from the engine's log, read in a thread, frame by frame, and handed over in larger pieces."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from docker.errors import DockerException
from docker.types import CancellableStream
from urllib3.exceptions import HTTPError

from domain.errors import EngineDown
from domain.ports.running import Output

HIGH_WATER = 1 << 20
PIECE = 64 << 10
GONE = (
    OSError,
    EOFError,
    AttributeError,
    ValueError,
    HTTPError,
    DockerException,
)  # the third and fourth: closed in the reading
STREAMS = {1: "stdout", 2: "stderr"}


class Raw(Protocol):
    """What is read of a response."""

    def read(self, amount: int) -> bytes: ...


def frames(raw: Raw) -> Iterator[Output]:
    """The frames of a multiplexed stream: a stream number, three bytes of nothing, four of length, then the bytes."""
    while header := raw.read(8):
        length = int.from_bytes(header[4:], "big")
        data = raw.read(length)
        if len(header) < 8 or len(data) < length:
            raise EOFError(f"a frame of {length} bytes ends after {len(data)}")
        if data and (stream := STREAMS.get(header[0])):
            yield Output(stream, data)  # type: ignore[arg-type]


class OutputReader:
    """Reads until the end in a thread of its own; stops reading while the other side is more than 1 MiB behind."""

    def __init__(self, open_stream: Callable[[], Any]) -> None:
        self._open = open_stream
        self._stream: Any = None
        self._loop, self._arrived = asyncio.get_running_loop(), asyncio.Event()
        self._room = threading.Condition()
        self._pieces: list[tuple[str, bytearray]] = []
        self._waiting, self._closed, self._ended, self._lost = 0, False, False, ""
        threading.Thread(target=self._read, name="engine output", daemon=True).start()

    async def take(self) -> list[Output] | None:
        """What has arrived since; None at the end. Raises EngineDown when that is not the container's end."""
        await self._arrived.wait()
        with self._room:
            self._arrived.clear()
            pieces, self._pieces, self._waiting = self._pieces, [], 0
            if self._ended:
                self._arrived.set()
            self._room.notify()
        if not pieces and self._lost:
            raise EngineDown(f"output: {self._lost}")
        if not pieces and self._ended:
            return None
        return [Output(stream, bytes(data)) for stream, data in pieces]  # type: ignore[arg-type]

    def close(self) -> None:
        """End the thread, wherever it waits."""
        with self._room:
            self._closed = True
            self._room.notify()
        if self._stream is not None:
            with contextlib.suppress(*GONE):
                self._stream.close()

    def _read(self) -> None:
        try:
            response = self._open()
            self._stream = CancellableStream(iter(()), response)  # for its way to close a stream that is being read
            for piece in frames(response.raw):
                if not self._hand_over(piece):
                    break
            response.close()
        except GONE as error:
            self._lost = type(error).__name__
        finally:
            with self._room:
                self._ended = True
            self._wake()

    def _hand_over(self, piece: Output) -> bool:
        with self._room:
            self._room.wait_for(lambda: self._closed or self._waiting < HIGH_WATER)
            last = self._pieces[-1] if self._pieces else None
            if last and last[0] == piece.stream and len(last[1]) < PIECE:
                last[1].extend(piece.data)
            else:
                self._pieces.append((piece.stream, bytearray(piece.data)))
            first, self._waiting = self._waiting == 0, self._waiting + len(piece.data)
            closed = self._closed
        if first:
            self._wake()
        return not closed

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._arrived.set)
