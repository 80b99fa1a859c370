"""A process starts only on a database that it knows, that keeps time with it, and that keeps what it confirms."""

from datetime import UTC, datetime
from typing import Any

from domain.errors import TallyportError
from domain.ports.tracing import Traces
from infra.migrate import versions
from infra.processes.process import Main
from infra.settings import Settings

SKEW_SECONDS = 5.0
_LOOK = b"""
SELECT ARRAY(SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')
             AND setting = 'off' ORDER BY name),
  clock_timestamp(), ARRAY(SELECT version::text FROM schema_migrations ORDER BY 1)
"""


class UnsafeDatabase(TallyportError):
    """The server may lose what it has confirmed."""

    def __init__(self, off: list[str]) -> None:
        super().__init__(
            f"database: {', '.join(off)} off, so the server may lose confirmed commits; turn on, "
            "or set database.allow_unsafe for data that may be lost"
        )
        self.off = off


class OtherSchema(TallyportError):
    """The database's schema is not the one that this version of the program was written for."""


class ClockSkew(TallyportError):
    """This host and the database disagree about the time."""


async def check(dsn: str, durable: bool = True) -> None:
    """Raises OtherSchema, ClockSkew, and where it has to be `durable` UnsafeDatabase."""
    import psycopg

    async with await psycopg.AsyncConnection.connect(dsn, connect_timeout=5) as connection:
        asked = datetime.now(UTC)
        try:
            row = await (await connection.execute(_LOOK)).fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
            raise OtherSchema("database: there is no schema of ours; run `tally db migrate`") from error
    assert row is not None, "one row"
    judge(row, (asked, datetime.now(UTC)), durable)


def judge(row: tuple[Any, ...], between: tuple[datetime, datetime], durable: bool) -> None:
    """As `check`, of the settings that are off, the server's time and its schema's versions.

    `between`: this host's time when the server was asked, and when it had answered.
    """
    off, their_time, applied = row
    if newer := sorted(set(applied) - versions()):
        raise OtherSchema(f"database: its schema has {newer[-1]}, which is newer than this program; update the program")
    if missing := sorted(versions() - set(applied)):
        raise OtherSchema(f"database: its schema lacks {missing[0]}; run `tally db migrate`")
    ahead, behind = (between[0] - their_time).total_seconds(), (their_time - between[1]).total_seconds()
    if (skew := max(ahead, behind)) > SKEW_SECONDS:
        raise ClockSkew(f"clock: {skew:.0f} s from the database's, at most {SKEW_SECONDS:g}; set the host's clock")
    if durable and off:
        raise UnsafeDatabase(off)


def checked(main: Main, durable: bool) -> Main:
    """`main`, after a look at the database it uses."""

    async def look_first(settings: Settings, traces: Traces) -> None:
        await check(settings.database.dsn(), durable and not settings.database.allow_unsafe)
        await main(settings, traces)

    return look_first
