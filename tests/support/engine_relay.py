"""A socket before the container engine's own, that can appear late and go away."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

PIECE = 64 << 10


class EngineRelay:
    """Passes on what comes in at the Unix socket `path` to that of the engine, `host`."""

    def __init__(self, path: Path, host: str) -> None:
        self.path, self._engine = path, host.removeprefix("unix://")
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def host(self) -> str:
        return f"unix://{self.path}"

    def open(self) -> None:
        """Be there."""
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Be gone, in the middle of every call; the file stays, as it does after a crash."""
        with self._lock:
            if self._listener is not None:
                self._listener.shutdown(socket.SHUT_RDWR)
                self._listener.close()
                self._listener = None
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                caller, _ = listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(self._engine)
                with self._lock:
                    if self._listener is not listener:
                        return
                    self._open |= {caller, engine}
                for pair in ((caller, engine), (engine, caller)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE):
                to.sendall(data)
        with suppress(OSError):
            to.shutdown(socket.SHUT_WR)


@contextmanager
def relay(path: Path, host: str) -> Generator[EngineRelay]:
    """One that is not there yet, and gone at the end."""
    made = EngineRelay(path, host)
    try:
        yield made
    finally:
        made.cut()
