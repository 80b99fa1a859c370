"""A database per test, copied from one that was migrated once."""

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from infra.migrate import migrate


@dataclass(frozen=True, slots=True)
class Database:
    """One database as each role sees it."""

    owner: str
    app: str
    read: str


def in_database(dsn: str, name: str, user: str | None = None) -> str:
    parts = urlsplit(dsn)
    netloc = f"{user}@{parts.hostname}:{parts.port}" if user else parts.netloc
    return urlunsplit(parts._replace(path=f"/{name}", netloc=netloc))


@contextmanager
def template(dsn: str) -> Generator[str]:
    """The name of a migrated database that nobody is connected to."""
    name = f"tally_template_{secrets.token_hex(4)}"
    execute(dsn, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        migrate(in_database(dsn, name))
        yield name
    finally:
        drop(dsn, name)


@contextmanager
def copy_of(dsn: str, template: str) -> Generator[Database]:
    """A new database like `template`, dropped at the end with its connections."""
    name = f"tally_test_{secrets.token_hex(6)}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    execute(dsn, statement.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield Database(
            in_database(dsn, name), in_database(dsn, name, "tally_app"), in_database(dsn, name, "tally_read")
        )
    finally:
        drop(dsn, name)


def drop(dsn: str, name: str) -> None:
    execute(dsn, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def execute(dsn: str, statement: sql.Composed) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)
