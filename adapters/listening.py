"""Notices of PostgreSQL, handed on as they come."""

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
from psycopg import Notify

from adapters.pipeline import Connection


async def listen(
    connection: Connection, hear: Callable[[Notify], None], every: float, each: Callable[[], Awaitable[object]]
) -> None:
    """Give each notice to `hear`, and await `each`, which may use the connection, every so many seconds.

    The socket's reader stays: psycopg's own `notifies` puts one up and takes it down for each notice. Raises
    psycopg.OperationalError when the connection is lost.
    """
    loop, libpq = asyncio.get_running_loop(), connection.pgconn
    socket = libpq.socket
    lost: asyncio.Future[psycopg.OperationalError] = loop.create_future()

    def readable() -> None:
        try:
            libpq.consume_input()
        except psycopg.OperationalError as error:
            loop.remove_reader(socket)  # it is closed: its number is the next one's that is opened
            if not lost.done():
                lost.set_result(error)
        while notice := libpq.notifies():
            hear(Notify(notice.relname.decode(), notice.extra.decode(), notice.be_pid))

    connection.add_notify_handler(hear)
    while True:
        loop.add_reader(socket, readable)
        try:
            readable()
            await asyncio.wait([lost], timeout=every)
        finally:
            if not lost.done():
                loop.remove_reader(socket)
        if lost.done():
            raise lost.result()
        await each()
