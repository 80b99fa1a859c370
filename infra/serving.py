"""An ASGI application on a port, inside a process that ends on SIGTERM by itself."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from domain.errors import TallyportError

if TYPE_CHECKING:
    import uvicorn


class PortTaken(TallyportError):
    """Something else listens where a server was told to."""


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on; `port` 0: any free one. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(2048)
    except OSError as error:
        sock.close()
        raise PortTaken(f"{host}:{port} cannot be listened on ({error.strerror}); choose another port") from error
    return sock


def listening_near(host: str, port: int) -> socket.socket:
    """As `listening`, on the first free port of twenty from `port` on. Raises PortTaken."""
    for candidate in range(port, port + 19):
        try:
            return listening(host, candidate)
        except PortTaken:
            continue
    return listening(host, port + 19)


@asynccontextmanager
async def serving(app: Any, sock: socket.socket) -> AsyncGenerator[str]:
    """Serve `app` on `sock` until the block ends; open feeds then have 2 s. Yields the address."""
    import uvicorn

    from infra.impatient import ImpatientProtocol

    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        date_header=True,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=30,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(_serve(server, sock))
    try:
        host, port = sock.getsockname()[:2]
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await task


async def _serve(server: "uvicorn.Server", sock: socket.socket) -> None:
    # Server.serve() would take the process's signal handlers for itself.
    await server._serve([sock])  # pyright: ignore[reportPrivateUsage]
