"""Waiting for a condition with a deadline, for what gives no signal of its own."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import psycopg

POLL = 0.02  # seconds


class NotInTime(AssertionError):
    """A condition did not come true before its deadline."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"not within {seconds:g} s: {what}")
        self.what, self.seconds = what, seconds


def until(true: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise NotInTime(what, seconds)
        time.sleep(POLL)


async def eventually(true: Callable[[], Awaitable[bool]], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not await true():
        if time.monotonic() > deadline:
            raise NotInTime(what, seconds)
        await asyncio.sleep(POLL)


def amqp_answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1) == b"\x01"
    except OSError:
        return False


def postgres_answers(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=1).close()
    except psycopg.OperationalError:
        return False
    return True
