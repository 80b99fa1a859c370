"""`tally serve api`: the query API."""

import asyncio
from contextlib import AsyncExitStack
from importlib.metadata import version
from urllib.parse import urlsplit

import httpx2
import orjson
import structlog
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uuid_utils.compat import uuid7

from adapters import broker
from adapters.bearer import Rules
from adapters.dead_letter_list import PgDeadLetters
from adapters.explaining_store import PgExplaining
from adapters.issuer_keys import IssuerKeys
from adapters.log_storage import LogReader
from adapters.measuring import Prometheus
from adapters.queries import PgQueries
from adapters.reading import open_reader
from adapters.tokens import BearerTokens
from adapters.watching import open_watch
from api.http.app import create_app
from api.http.context import About, Api, Bounds, Check
from domain.errors import Unavailable
from domain.ports.querying import Queries
from domain.ports.tracing import Traces
from infra.command_desk import AmqpCommandDesk, user_of
from infra.schemas import schemas
from infra.serving import listening, listening_near, serving
from infra.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
LARGEST_LAG = 10_000


async def main(settings: Settings, traces: Traces) -> None:
    """Reads from the database, publishes commands to the broker when `api.commands` is on."""
    sock = listening(settings.api.host, settings.api.port)
    try:
        async with AsyncExitStack() as stack:
            read_dsn = settings.database.dsn("read")
            reader = await stack.enter_async_context(open_reader(read_dsn, settings.database.pool_max))
            watch = await stack.enter_async_context(open_watch(read_dsn))
            http = await stack.enter_async_context(httpx2.AsyncClient(timeout=5))
            amqp_url = settings.amqp.url.get_secret_value()
            amqp = await stack.enter_async_context(broker.connect(amqp_url, "api"))
            measures = Prometheus(reader, version("tallyport")) if settings.metrics.enabled else None
            queries, publisher = PgQueries(reader), amqp.publisher()
            api = Api(
                tokens=BearerTokens(rules(settings), IssuerKeys(settings.auth.required_issuer(), http)),
                queries=queries,
                explaining=PgExplaining(reader),
                logs=LogReader(settings.logs.folder, reader.rows),
                dead_letters=PgDeadLetters(reader),
                watch=watch,
                traces=traces,
                new_id=uuid7,
                about=about(settings, sock.getsockname()[1]),
                desk=AmqpCommandDesk(publisher, reader, user_of(amqp_url)) if settings.api.commands else None,
                measures=measures,
                checks={
                    "database": database_answers(queries),
                    "broker": publisher.ready,
                    "views": views_follow(queries),
                },
                bounds=bounds(settings),
            )
            app = create_app(api)
            await stack.enter_async_context(serving(app, sock))
            if measures is not None:
                near = listening_near(settings.metrics.host, settings.metrics.port)
                address = await stack.enter_async_context(serving(metrics_app(measures), near))
                structlog.get_logger().info("metrics", address=f"{address}/metrics")
            stack.callback(app.state.waiting.over.set)
            await asyncio.Event().wait()
    finally:
        sock.close()


def rules(settings: Settings) -> Rules:
    """What a token must be."""
    auth = settings.auth
    return Rules(
        auth.required_issuer(),
        auth.audience,
        auth.profile,
        auth.leeway,
        auth.algorithms,
        auth.scope_claim,
        auth.client_claim,
    )


def about(settings: Settings, port: int) -> About:
    """What the API says of itself; on loopback it answers to no name but its own, so that no web page can reach it."""
    resource = settings.api.public_url or f"http://{settings.api.host}:{port}"
    public = urlsplit(resource).hostname
    hosts = LOOPBACK | {public or ""} if settings.api.host in LOOPBACK else None
    return About(version("tallyport"), settings.auth.required_issuer(), resource.rstrip("/"), schemas(), hosts)


def bounds(settings: Settings) -> Bounds:
    """How much one caller may ask."""
    limits, rate = settings.limits, settings.rate
    return Bounds(limits.max_body, limits.max_workflow, rate.reads, rate.streams_per_user)


def database_answers(queries: Queries) -> Check:
    """The database answers within its time."""

    async def check() -> None:
        await queries.head()

    return check


def views_follow(queries: Queries) -> Check:
    """The views are near the log."""

    async def check() -> None:
        listed = await queries.projections()
        for row in orjson.loads(listed.body):
            if row["name"] == "projector" and row["lag"] > LARGEST_LAG:
                raise Unavailable(f"the views are {row['lag']} events behind")

    return check


def metrics_app(measures: Prometheus) -> Starlette:
    """`/metrics`, on a port of its own: it is not for the API's users."""

    async def metrics(_: Request) -> Response:
        try:
            return Response(await measures.text(), media_type=CONTENT_TYPE_LATEST)
        except Unavailable as unavailable:
            return PlainTextResponse(str(unavailable), 503)

    return Starlette(routes=[Route("/metrics", metrics)])
