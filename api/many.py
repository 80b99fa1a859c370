"""One command after the other, a bounded number of them on their way at once, each with its own outcome."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, TypeVar

from domain.commands import Command
from domain.errors import Refused, Unavailable
from domain.work import Reply

if TYPE_CHECKING:
    from api.client import Client

AT_ONCE = 1000
PAUSE_SECONDS, AWAY_SECONDS = 1.0, 30.0
C = TypeVar("C", bound=Command)


async def send_each(client: "Client", commands: Iterable[C]) -> AsyncIterator[tuple[C, Reply | Refused]]:
    """What became of each command, in their order.

    Raises Unavailable once one was not answered for 30 s; those already sent may still be done.
    """
    flying: deque[asyncio.Task[tuple[C, Reply | Refused]]] = deque()
    try:
        for command in commands:
            flying.append(asyncio.create_task(_sent(client, command)))
            if len(flying) >= AT_ONCE:
                yield await flying.popleft()
        while flying:
            yield await flying.popleft()
    finally:
        for one in flying:
            one.cancel()
        await asyncio.gather(*flying, return_exceptions=True)


async def _sent(client: "Client", command: C) -> tuple[C, Reply | Refused]:
    command_id, away_since = client.new_id(), None
    while True:
        try:
            _, reply = await client.send(command, reply=True, command_id=command_id)
        except Refused as refused:
            return command, refused
        except Unavailable:
            now = asyncio.get_running_loop().time()
            away_since = away_since or now
            if now - away_since >= AWAY_SECONDS:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            assert reply is not None, "a reply was asked for"
            return command, reply
