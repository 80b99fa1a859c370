"""Notices of PostgreSQL, handed on as they come."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg import Notify

from adapters.pipeline import Connection


def heard_so_far(connection: Connection, hear: Callable[[Notify], None]) -> None:
    """Give each notice to `hear` that came with answers on this connection."""
    while notice := connection.pgconn.notifies():
        hear(Notify(notice.relname.decode(), notice.extra.decode(), notice.be_pid))


async def listen(connection: Connection, hear: Callable[[Notify], None], enough: asyncio.Event, seconds: float) -> None:
    """Give each notice to `hear` until `enough` is set, for at most so many seconds.

    Nothing else may use the connection meanwhile. Raises psycopg.OperationalError when it is lost.
    """
    loop, libpq = asyncio.get_running_loop(), connection.pgconn
    lost: list[psycopg.OperationalError] = []
    heard_so_far(connection, hear)
    if enough.is_set():
        return
    socket = libpq.socket

    def readable() -> None:
        try:
            libpq.consume_input()
        except psycopg.OperationalError as error:
            loop.remove_reader(socket)  # it is closed: its number is the next one's that is opened
            lost.append(error)
            enough.set()
        heard_so_far(connection, hear)

    loop.add_reader(socket, readable)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await enough.wait()
    finally:
        if not lost:
            loop.remove_reader(socket)
    if lost:
        raise lost[0]
