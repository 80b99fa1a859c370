"""`tally doctor`: each part that commands need, and what to do about the one that is missing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from api.cli.exits import FAILED, told
from api.cli.output import COMMON, Column, Common, field, rows
from domain.errors import Refused, TallyportError
from infra.client import Target, target
from infra.dev_file import running_in
from infra.settings import Settings, load

COLUMNS = (Column("PART", field("part")), Column("STATUS", field("status")), Column("DETAIL", field("detail")))
SECONDS = 5.0


def doctor(*, common: Common = COMMON) -> int:
    """Check each part that commands need. Ends with 1 if one of them fails."""
    found = asyncio.run(_all())
    rows(found, COLUMNS, common, name="part")
    return FAILED if any(row["status"] == "failed" for row in found) else 0


async def _all() -> list[dict[str, Any]]:
    try:
        settings = load()
    except TallyportError as error:
        return [_row("settings", "failed", str(error))]
    found: list[dict[str, Any]] = []
    checks: dict[str, Callable[[], Awaitable[str | None]]] = {}
    try:
        where = target(settings)
    except TallyportError as error:
        found.append(_row("platform", "failed", str(error)))
    else:
        found.append(_row("platform", "ok", f"{where.api_url} ({where.origin})"))
        checks = {"api": lambda: _api(where), "token": lambda: _token(where), "broker": lambda: _broker(where)}
    checks |= {"database": lambda: _database(settings), "containers": lambda: _engine(settings)}
    return found + [await _checked(part, check) for part, check in checks.items()]


async def _checked(part: str, check: Callable[[], Awaitable[str | None]]) -> dict[str, Any]:
    try:
        async with asyncio.timeout(SECONDS):
            detail = await check()
    except Refused as refused:
        return _row(part, "failed", told(refused.problem))
    except Exception as error:  # noqa: BLE001 - whatever a part fails with is its finding
        return _row(part, "failed", str(error) or type(error).__name__)
    return _row(part, "not set", "not needed here") if detail is None else _row(part, "ok", detail)


async def _api(where: Target) -> str:
    import httpx2

    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{where.api_url}/readyz")
        answer.raise_for_status()
        version = await client.get(f"{where.api_url}/version")
    return f"ready, version {version.json().get('version', '?')}"


async def _token(where: Target) -> str:
    from adapters.api_session import open_api
    from adapters.platform_http import HttpPlatform

    async with open_api(where.api_url, where.bearer()) as api:
        await HttpPlatform(api).tasks(None, {}, 1)
    return "accepted"


async def _broker(where: Target) -> str | None:
    if where.amqp_url is None:
        return None
    from aio_pika import connect

    async with await connect(where.amqp_url, timeout=SECONDS) as connection:
        channel = await connection.channel()
        await channel.get_exchange("amq.topic")
    return "connected"


async def _database(settings: Settings) -> str | None:
    dev = running_in(settings.dev.folder)
    url = settings.database.dsn() if settings.database.url else dev.database_url if dev else None
    if url is None:
        return None
    from psycopg import AsyncConnection

    async with await AsyncConnection.connect(url, connect_timeout=5) as connection:
        cursor = await connection.execute("SELECT current_setting('server_version'), max(notification_id) FROM events")
        row = await cursor.fetchone()
    return f"PostgreSQL {row[0]}, {row[1] or 0} events" if row else None


async def _engine(settings: Settings) -> str | None:
    from infra.dev import engine_api

    dev = running_in(settings.dev.folder)
    host = settings.worker.engine or (dev.docker_host if dev else None) or await asyncio.to_thread(engine_api.reachable)
    if host is None:
        return None
    if not await asyncio.to_thread(engine_api.answers, host):
        raise TallyportError(f"{host} does not answer")
    return host


def _row(part: str, status: str, detail: str) -> dict[str, Any]:
    return {"part": part, "status": status, "detail": detail}
