"""The command line over a platform in memory."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from adapters.in_memory.endings import Ending
from adapters.in_memory.platform import MemoryPlatform
from adapters.in_memory.traces import NoTraces
from api.client import Client
from infra.main import run
from tests.support.commands import Ids
from tests.support.ended_tasks import Hands


class Terminal:
    """`tally`, typed at a platform whose tasks end as they are told.

    Captured as bytes: what containers print need not be text, and reading it as text would end the test run.
    """

    def __init__(self, captured: pytest.CaptureFixture[bytes]) -> None:
        self.endings: dict[str, Ending | None] = {}
        self.platform = MemoryPlatform(Hands(), self.endings)
        self.fails: Exception | None = None
        self.out = self.err = ""
        self.raw = b""
        self._ids, self._captured = Ids(), captured

    def __call__(self, *words: str) -> int:
        code = run(words, self._connect)
        self.raw, err = self._captured.readouterr()
        self.out, self.err = self.raw.decode(errors="replace"), err.decode(errors="replace")
        return code

    @asynccontextmanager
    async def _connect(self, namespace: str | None) -> AsyncGenerator[Client]:
        if self.fails is not None:
            raise self.fails
        yield Client(self.platform, self.platform, self._ids, NoTraces(), namespace or "default")
