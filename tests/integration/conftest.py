"""What several integration tests ask for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.database import Database
from tests.support.http_api import Running, running


@pytest_asyncio.fixture
async def api(pg: Database, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(pg, tmp_path / "issuer") as api:
        yield api
