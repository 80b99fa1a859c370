"""Whether a worker can start containers now: its engine answers, and had room on its disk."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from domain.errors import EngineDown, EngineTimeout

ENOUGH = 3
"""Calls in a row, of whatever runs, that the engine does not answer: then no more runs are taken."""
PROBE_SECONDS = 1.0
FULL_SECONDS = 60.0
"""How long an engine whose disk was full gets no new runs: so long others have the first look at what it lost."""

log = logging.getLogger(__name__)


class Fitness:
    """Is told what becomes of calls that precede a start. While it is not `fit`, offers of containers are left to
    expire, which costs their tasks nothing; `run` finds out when it is fit again, by `ping`."""

    def __init__(self, ping: Callable[[], Awaitable[None]], pause: Callable[[float], Awaitable[None]]) -> None:
        self._ping, self._pause = ping, pause
        self._unanswered, self._wait = 0, PROBE_SECONDS
        self._unfit = asyncio.Event()

    @property
    def fit(self) -> bool:
        """Whether new runs may be taken."""
        return not self._unfit.is_set()

    def answered(self) -> None:
        """The engine answered a call."""
        self._unanswered = 0

    def unanswered(self) -> None:
        """The engine did not answer a call."""
        self._unanswered += 1
        if self._unanswered == ENOUGH:
            log.warning("no containers are taken on until the engine answers")
        if self._unanswered >= ENOUGH:
            self._unfit.set()

    def full(self) -> None:
        """The engine's disk was full."""
        log.warning("no containers are taken on for %g s: the engine's disk is full", FULL_SECONDS)
        self._wait = FULL_SECONDS
        self._unfit.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._unfit.wait()
            wait, self._wait = self._wait, PROBE_SECONDS
            await self._pause(wait)
            if await self._answers() and self._wait == PROBE_SECONDS:
                log.info("containers are taken on again")
                self._unanswered = 0
                self._unfit.clear()

    async def _answers(self) -> bool:
        try:
            await self._ping()
        except (EngineDown, EngineTimeout):
            return False
        return True
