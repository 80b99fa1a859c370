"""A process that writes the log starts only where a commit survives a power cut."""

from domain.errors import TallyportError
from domain.ports.tracing import Traces
from infra.processes.process import Main
from infra.settings import Settings

_OFF = (
    b"SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') "
    b"AND setting = 'off' ORDER BY name"
)


class UnsafeDatabase(TallyportError):
    """The server may lose what it has confirmed."""

    def __init__(self, off: list[str]) -> None:
        super().__init__(
            f"database: {', '.join(off)} off, so the server may lose confirmed commits; turn on, "
            "or set database.allow_unsafe for data that may be lost"
        )
        self.off = off


async def refuse_unsafe(dsn: str) -> None:
    """Raises UnsafeDatabase."""
    import psycopg

    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        rows = await (await connection.execute(_OFF)).fetchall()
    if rows:
        raise UnsafeDatabase([str(row[0]) for row in rows])


def on_durable(main: Main) -> Main:
    """`main`, after a look at the server it writes to."""

    async def checked(settings: Settings, traces: Traces) -> None:
        if not settings.database.allow_unsafe:
            await refuse_unsafe(settings.database.dsn())
        await main(settings, traces)

    return checked
