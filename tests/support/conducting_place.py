"""A conductor in a world in memory, and in one on PostgreSQL: import the fixture `place` to run a test in both."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest

from adapters.event_log import connect
from consumers.conductor import Conductor
from tests.support.conducting import MemoryWorld, PgWorld, World, conductor, settle


@dataclass(frozen=True, slots=True)
class Place:
    """A world and a conductor in it."""

    world: World
    conducting: Conductor

    async def settle(self) -> None:
        await settle(self.conducting)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.integration)])
async def place(request: pytest.FixtureRequest) -> AsyncGenerator[Place]:
    if request.param == "memory":
        memory = MemoryWorld()
        async with memory.seat() as seat:
            yield Place(memory, conductor(seat))
        return
    dsn = request.getfixturevalue("pg").app
    async with await connect(dsn, "test") as connection:
        world = PgWorld(dsn, connection)
        async with world.seat() as seat:
            yield Place(world, conductor(seat))
