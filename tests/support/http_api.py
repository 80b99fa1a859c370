"""The API on a real port over a real database and a real issuer; what it publishes is kept."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import psycopg
from fastapi import FastAPI
from uuid_utils.compat import uuid7

from adapters.bearer import Rules
from adapters.dead_letter_list import PgDeadLetters
from adapters.event_log import append_events, connect
from adapters.explaining_store import PgExplaining
from adapters.in_memory.broker import InMemoryBroker
from adapters.in_memory.traces import NoTraces
from adapters.issuer_keys import IssuerKeys
from adapters.queries import PgQueries
from adapters.reading import open_reader
from adapters.seat import PgSeat
from adapters.tokens import BearerTokens
from adapters.views import ProjectorPgTurn
from adapters.watching import open_watch
from api.http.app import create_app
from api.http.context import About, Api, Bounds
from consumers.following import follow
from consumers.projector import Project
from domain.ports.logkeeping import LogStream, StreamEnd
from domain.ports.measuring import Measures
from domain.ports.tracing import Traces
from domain.recorded import NewEvent
from infra.command_desk import AmqpCommandDesk
from infra.issuer import Issuer, issuer_app
from infra.processes.api import database_answers
from infra.schemas import schemas
from infra.serving import listening, serving
from infra.topology import TOPOLOGY
from tests.support.database import Database


@dataclass(slots=True)
class Printed:
    """Logs that a test writes by hand."""

    streams: dict[tuple[UUID, LogStream], tuple[bytes, bool]] = field(
        default_factory=dict[tuple[UUID, LogStream], tuple[bytes, bool]]
    )

    async def ends(self, run_id: UUID) -> Mapping[LogStream, StreamEnd]:
        return {
            stream: StreamEnd(len(data), last) for (run, stream), (data, last) in self.streams.items() if run == run_id
        }

    async def read(self, run_id: UUID, stream: LogStream, start: int, limit: int) -> bytes:
        return self.streams.get((run_id, stream), (b"", False))[0][start : start + limit]


published = cache(schemas)  # half of what it takes to start the API


@dataclass(frozen=True, slots=True)
class Running:
    """The API, and what is around it."""

    url: str
    issuer: Issuer
    broker: InMemoryBroker
    printed: Printed
    database: Database
    client: httpx2.AsyncClient
    app: FastAPI

    async def get(self, path: str, scope: str = "", **options: Any) -> httpx2.Response:
        """GET as `reader`, with these scopes (left out: all that reads, everywhere)."""
        return await self.client.get(path, headers=self.bearer(scope) | options.pop("headers", {}), **options)

    def bearer(self, scope: str = "", client: str = "reader") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.issuer.token(client, scope.split() or None)}"}

    async def append(self, *events: NewEvent) -> int:
        """Store events; the last one's position."""
        async with await connect(self.database.app, "test") as connection, connection.transaction():
            appended = await append_events(connection, events)
        return appended.positions[-1]

    async def name(self, stream: UUID, name: str, namespace: str = "default") -> None:
        """What the handler writes beside the events of a task that was given a name."""
        async with await connect(self.database.app, "test") as connection:
            await connection.execute(
                "INSERT INTO names (namespace, kind, name, stream, digest) VALUES (%s, 'task', %s, %s, 'digest')",
                (namespace, name, stream),
            )


@asynccontextmanager
async def running(
    database: Database,
    folder: Path,
    traces: Traces | None = None,
    bounds: Bounds | None = None,
    measures: Measures | None = None,
) -> AsyncGenerator[Running]:
    """The API with a projector beside it."""
    issuer, inner = Issuer("http://issuer.test", folder), InMemoryBroker()
    await inner.declare(TOPOLOGY)
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(open_reader(database.read, 4))
        watch = await stack.enter_async_context(open_watch(database.read))
        keys = httpx2.AsyncClient(transport=httpx2.ASGITransport(issuer_app(issuer)))
        printed, sock = Printed(), listening("127.0.0.1", 0)
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        queries = PgQueries(reader)
        api = Api(
            tokens=BearerTokens(Rules(issuer.url, issuer.audience), IssuerKeys(issuer.url, keys)),
            queries=queries,
            explaining=PgExplaining(reader),
            logs=printed,
            dead_letters=PgDeadLetters(reader),
            watch=watch,
            traces=traces or NoTraces(),
            new_id=uuid7,
            about=About("1.2.3", issuer.url, url, published(), frozenset({"127.0.0.1"})),
            desk=AmqpCommandDesk(inner.publisher(), reader, "tally"),
            measures=measures,
            checks={"database": database_answers(queries)},
            bounds=bounds or Bounds(reads=1000),
        )
        app = create_app(api)
        await stack.enter_async_context(serving(app, sock))
        stack.callback(app.state.waiting.over.set)
        await stack.enter_async_context(_projecting(database.app))
        client = await stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=30))
        yield Running(url, issuer, inner, printed, database, client, app)


@asynccontextmanager
async def _projecting(dsn: str) -> AsyncGenerator[None]:
    async with PgSeat(dsn, "projector", ProjectorPgTurn) as seat:
        following = asyncio.create_task(follow(seat, Project(seat), asyncio.Event()))
        try:
            yield
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError, psycopg.OperationalError):
                await following
