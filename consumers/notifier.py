"""Ends of tasks become due rows of a ledger; due rows go out by channel; what became of them is recorded.

Tries run beside the loop, some at once for each channel, so a slow channel delays no other. A try whose outcome was
not recorded is made again with the same id.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from domain.errors import StreamsMoved
from domain.events import ENDS
from domain.messages import Cause
from domain.notifying import Notification, Rules, Settled, Tried, notifications, settle
from domain.ports.log import Page, Seat
from domain.ports.notifying import Channel, NotifierTurn
from domain.ports.tracing import Traces
from domain.recorded import NewEvent

ACTOR = "notifier"
PAGE = 1000
AT_ONCE = 8
IDLE_SECONDS = 1.0

Try: TypeAlias = asyncio.Task[tuple[Notification, Tried, Cause]]


@dataclass(frozen=True, slots=True)
class Notifier:
    """`rules` has the same channels as `channels`. `share`: random numbers from 0 to 1."""

    seat: Seat[NotifierTurn]
    channels: Mapping[str, Channel]
    rules: Rules
    traces: Traces
    share: Callable[[], float]
    sending: dict[tuple[UUID, str], Try] = field(default_factory=dict[tuple[UUID, str], Try])

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the log until `stop` is set; what is on its way then is given up and sent again by the next one."""
        clock, looked = asyncio.get_running_loop().time, float("-inf")
        try:
            while not stop.is_set():
                page = await self.seat.page(PAGE, sorted(ENDS))
                ended = any(one.done() for one in self.sending.values())
                if page.events or ended or clock() - looked >= IDLE_SECONDS:
                    await self.step(page)
                    looked = clock()
                if len(page.events) < PAGE:
                    await self._wait()
        finally:
            for one in self.sending.values():
                one.cancel()
            await asyncio.gather(*self.sending.values(), return_exceptions=True)

    async def step(self, page: Page) -> None:
        """One transaction: note the tries that have ended, make the page's notifications due, take what is due."""
        tried = [one.result() for one in self.sending.values() if one.done()]
        for notification, *_ in tried:
            del self.sending[notification.key]
        recorded = frozenset[UUID]()
        while True:
            try:
                due = await self._turn(page, tried, recorded)
                break
            except StreamsMoved as moved:
                if moved.streams <= recorded:
                    raise
                recorded |= moved.streams
        for notification in due:
            self.sending[notification.key] = asyncio.create_task(self._send(notification))

    async def _turn(
        self, page: Page, tried: Sequence[tuple[Notification, Tried, Cause]], recorded: frozenset[UUID]
    ) -> Sequence[Notification]:
        """What is due now. Outcomes whose streams are `recorded` are in the log already, from before a repair."""
        async with self.seat.turn(page.up_to) as turn:
            now = await turn.now()
            settled = [(settle(one, outcome, now, self.share()), cause) for one, outcome, cause in tried]
            await turn.settle([one for one, _ in settled])
            named = await turn.channels_named({event.stream for event in page.events})
            await turn.add(notifications(page.events, named, self.rules))
            due = await turn.due(self._room(), self.sending.keys())
            facts = [event for one, cause in settled for event in _facts(one, cause)]
            await turn.append([event for event in facts if event.stream not in recorded])
        return due

    async def _send(self, notification: Notification) -> tuple[Notification, Tried, Cause]:
        name, number = notification.channel, notification.tries + 1
        following = notification.event.following(ACTOR)
        attributes: dict[str, str | int] = {"tally.channel": name, "tally.try": number}
        with self.traces.step("process notifier", following, "client", attributes) as cause:
            if (channel := self.channels.get(name)) is None:
                return notification, Tried(f"no channel {name}: set notify.{name}.url", final=True), cause
            return notification, await channel.send(notification), cause

    def _room(self) -> dict[str, int]:
        taken = [channel for _, channel in self.sending]
        return {channel: AT_ONCE - taken.count(channel) for channel in self.channels}

    async def _wait(self) -> None:
        """Until the log has grown, a try has ended, or a second has passed."""
        grown = asyncio.ensure_future(self.seat.wait(IDLE_SECONDS))
        try:
            await asyncio.wait([grown, *self.sending.values()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            grown.cancel()
            with suppress(asyncio.CancelledError):
                await grown


def _facts(settled: Settled, cause: Cause) -> list[NewEvent]:
    if settled.fact is None:
        return []
    notification = settled.notification
    return [NewEvent(notification.stream, 1, notification.event.namespace, settled.fact, cause)]
